"""Make an artifact of a model from elsewhere: a local directory or a hub id."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.content import Content, Modality
from model.errors import ArtifactError, ConfigError
from model.sentence_transformer.config import SentenceTransformerConfig
from model.sentence_transformer.encoder import SentenceTransformerEncoder
from model.sentence_transformer.storage import load_model

if TYPE_CHECKING:
    from torch import Tensor

# Difference of a vector's elements that rounding may make: coarse enough for bfloat16.
APART = 1e-2
# No pickled weights and no code, even where a repository has them.
FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")


def build_sentence_transformer(checkpoint: str, settings: dict[str, Any], *, home: Path) -> SentenceTransformerEncoder:
    """Load ``checkpoint`` with the settings of a recipe.

    Args:
        checkpoint: local directory, or hub id (``id@commit`` pins one) that is downloaded to ``home``.
        settings: fields of ``SentenceTransformerConfig``.
        home: local state directory.

    Raises:
        ArtifactError: the model cannot be had or loaded.
        ConfigError: unknown settings, or dimensions that the model does not have.
    """
    config = SentenceTransformerConfig.parse({"source": checkpoint, **settings})
    directory = Path(checkpoint) if Path(checkpoint).is_dir() else fetch(checkpoint, home)
    encoder = SentenceTransformerEncoder(load_model(directory, config, None), config).eval()
    keep_texts_apart(encoder)
    width = len(_vector(encoder, "a", "a"))
    dimensions = config.dimensions or (width,)
    if dimensions[0] != width:
        raise ConfigError(f"dimensions={dimensions}: the vectors of {checkpoint} have {width}, which must come first")
    encoder.config = encoder.config.model_copy(update={"dimensions": dimensions})
    return encoder


def fetch(checkpoint: str, home: Path) -> Path:
    """Download the safe files of a hub repository.

    Raises:
        ArtifactError: the hub cannot be reached or has no such model.
    """
    from huggingface_hub import snapshot_download

    if not checkpoint:
        raise ArtifactError(
            "model.checkpoint is empty: give a local directory or a hub id such as google/embeddinggemma-2"
        )
    sys.stderr.write(f"weights: {checkpoint} from the model hub\n")
    try:
        cache = home / "downloads" / "hub"
        name, _, commit = checkpoint.partition("@")
        return Path(snapshot_download(name, revision=commit or None, allow_patterns=list(FILES), cache_dir=cache))
    except Exception as error:  # the client raises its own, HTTP and OS errors
        raise ArtifactError(
            f"cannot fetch {checkpoint} from the model hub: {error}. Give the path of a local copy instead, as "
            "`--set model.checkpoint=/path/to/it`"
        ) from error


def keep_texts_apart(encoder: SentenceTransformerEncoder) -> None:
    """Pad texts to full length in models whose vector depends on the padding, such as SigLIP; a saved setting.

    SigLIP pools the last position, padding or not: padded to the longest of the batch, as the library does it, a text
    gets another vector beside a longer neighbour. It was trained on texts of full length.

    Raises:
        ConfigError: a vector depends on its neighbours even then.
    """
    if Modality.TEXT not in encoder.modalities or _apart(encoder):
        return
    module = encoder.model[0]
    module.processing_kwargs = {
        **module.processing_kwargs,
        "text": {**module.processing_kwargs.get("text", {}), "padding": "max_length"},
    }
    if not _apart(encoder):
        raise ConfigError("in this model the vector of a text depends on its neighbours: it cannot be used")


def _apart(encoder: SentenceTransformerEncoder) -> bool:
    import torch

    short, long = "a", "a longer text than its neighbour"
    return torch.allclose(_vector(encoder, short, short), _vector(encoder, short, long), atol=APART)


def _vector(encoder: SentenceTransformerEncoder, *texts: str) -> "Tensor":
    """Vector [D] of the first text in a batch; its width is what configurations may not tell: heads change it."""
    import torch

    with torch.inference_mode():
        vector: Tensor = encoder(encoder.preprocess([Content.of(text) for text in texts]))[0]
    return vector

"""Load converted weights into modules."""

from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import ArtifactError
from model.towers.config import EfficientNetLiteConfig, WhisperConfig
from model.towers.efficientnet_lite import EfficientNetLite, fuse
from model.towers.whisper import Whisper
from model.weights.efficientnet import CLASSIFIER
from model.weights.store import TOKENIZER, load_config, load_state

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import BertModel


def load_text_trunk(directory: Path) -> "BertModel":
    """Build the text trunk: a ``BertModel`` without pooling layer, in evaluation mode, fp32.

    Raises:
        ArtifactError: the weights are missing or do not fit their config.
    """
    from transformers import BertConfig, BertModel

    config = load_config(directory)
    config.pop("model_type", None)
    trunk = BertModel(BertConfig(**config), add_pooling_layer=False)
    state = load_state(directory)
    loaded = trunk.load_state_dict(state, strict=False)
    missing = [name for name in loaded.missing_keys if not name.endswith(("position_ids", "token_type_ids"))]
    if missing or loaded.unexpected_keys:
        raise ArtifactError(f"{directory}: missing {missing[:5]}, unexpected {loaded.unexpected_keys[:5]}")
    return trunk.eval()


def load_tokenizer(directory: Path) -> "Tokenizer":
    """Read the fast tokenizer.

    Raises:
        ArtifactError: ``tokenizer.json`` is missing or damaged.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(directory / TOKENIZER))
    except Exception as error:
        raise ArtifactError(f"{directory / TOKENIZER} is unreadable: {error}") from error


def load_image_tower(directory: Path, *, fold: bool = True) -> EfficientNetLite:
    """Build the image tower in evaluation mode; with ``fold`` its batch norms are folded (``config.fused`` is true).

    Raises:
        ArtifactError: the weights are missing or do not fit their config.
    """
    tower = EfficientNetLite(EfficientNetLiteConfig.parse(load_config(directory)))
    state = {name: t for name, t in load_state(directory).items() if not name.startswith(CLASSIFIER)}
    try:
        tower.load_state_dict(state)
    except RuntimeError as error:
        raise ArtifactError(f"{directory}: {error}") from error
    return fuse(tower) if fold and not tower.config.fused else tower.eval()


def load_speech_tower(directory: Path) -> Whisper:
    """Build the speech tower in evaluation mode.

    Raises:
        ArtifactError: the weights are missing or do not fit their config.
    """
    tower = Whisper(WhisperConfig.parse(load_config(directory)))
    try:
        tower.load_state_dict(load_state(directory))
    except RuntimeError as error:
        raise ArtifactError(f"{directory}: {error}") from error
    return tower.eval()

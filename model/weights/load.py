"""Load converted weights into modules."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import TypeAdapter, ValidationError

from model.config import describe
from model.errors import ArtifactError
from model.pretrained import bare_model, transformers_config
from model.towers import build_tower
from model.towers.config import AudioTowerConfig, ImageTowerConfig, TowerConfig
from model.towers.efficientnet_lite import EfficientNetLite, fuse
from model.weights.efficientnet import CLASSIFIER
from model.weights.store import TOKENIZER, load_config, load_state

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn
    from transformers import PreTrainedModel

IMAGE = TypeAdapter[TowerConfig](ImageTowerConfig)
AUDIO = TypeAdapter[TowerConfig](AudioTowerConfig)


def load_text_trunk(directory: Path) -> "PreTrainedModel":
    """Build the text trunk with its word embeddings: a transformers model without pooling layer, in evaluation mode.

    Raises:
        ArtifactError: the weights are missing or do not fit their config.
    """
    trunk = bare_model(transformers_config(load_config(directory)))
    loaded = trunk.load_state_dict(load_state(directory), strict=False)
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


def load_image_tower(directory: Path, *, fold: bool = True) -> "nn.Module":
    """Build the image tower in evaluation mode; with ``fold`` the batch norms of an EfficientNet-lite are folded.

    Raises:
        ArtifactError: the weights are missing or do not fit their config.
    """
    tower = _load_tower(directory, IMAGE)
    foldable = fold and isinstance(tower, EfficientNetLite) and not tower.config.fused
    return fuse(cast("EfficientNetLite", tower)) if foldable else tower


def load_speech_tower(directory: Path) -> "nn.Module":
    """Build the audio tower in evaluation mode.

    Raises:
        ArtifactError: the weights are missing or do not fit their config.
    """
    return _load_tower(directory, AUDIO)


def _load_tower(directory: Path, kinds: TypeAdapter[TowerConfig]) -> "nn.Module":
    try:
        tower = build_tower(kinds.validate_python(load_config(directory)))
    except ValidationError as error:
        raise ArtifactError(describe(error, str(directory))) from error
    try:
        tower.load_state_dict({k: t for k, t in load_state(directory).items() if not k.startswith(CLASSIFIER)})
    except RuntimeError as error:
        raise ArtifactError(f"{directory}: {error}") from error
    return tower.eval()

"""Assemble a fresh unified encoder from converted weights: pretrained towers and trunk, new projectors."""

from typing import TYPE_CHECKING, Any, cast

import torch

from model.errors import ArtifactError, ConfigError
from model.unified.check import check_frontends, check_trunk
from model.unified.config import UnifiedConfig
from model.unified.encoder import UnifiedEncoder
from model.unified.projector import Projector
from model.unified.trunk import table_name
from model.weights.load import load_image_tower, load_speech_tower, load_text_trunk
from model.weights.store import TOKENIZER, WeightPaths, load_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MATRYOSHKA = (512, 256, 128, 64)
FROM_WEIGHTS = ("trunk", "image_tower", "audio_tower")


def build_encoder(paths: WeightPaths, settings: dict[str, Any], *, source: str, seed: int = 0) -> UnifiedEncoder:
    """Build the encoder that training starts from.

    Args:
        paths: converted weights of text trunk, image tower and speech tower.
        settings: fields of ``UnifiedConfig`` that the recipe sets; trunk and towers come from the weights, a tower
            that is set to null is left out.
        source: stated in the configuration as the origin of the weights.
        seed: of the new projectors; the global random state is kept.

    Raises:
        ConfigError: unknown or impossible settings, a trunk that is not bidirectional, sizes that a tower refuses.
        ArtifactError: the weights do not fit.
    """
    own = [name for name in FROM_WEIGHTS if settings.get(name) is not None]
    if own:
        raise ConfigError(f"{', '.join(own)}: these come with the weights; choose others by the source of the weights")
    image, speech, trunk = load_image_tower(paths.image), load_speech_tower(paths.audio), load_text_trunk(paths.text)
    width = int(trunk.config.hidden_size)
    given = {
        "dimensions": [width, *(d for d in MATRYOSHKA if d < width)],
        "trunk": load_config(paths.text),
        "image_tower": image.config.model_dump(mode="json"),  # type: ignore[union-attr, operator]
        "audio_tower": speech.config.model_dump(mode="json"),  # type: ignore[union-attr, operator]
        "source": source,
        **settings,
    }
    config = UnifiedConfig.parse(given)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = UnifiedEncoder(config, (paths.text / TOKENIZER).read_text(encoding="utf-8")).eval()
    _fill_trunk(encoder, trunk)
    for name, tower in (("image", image), ("video", image), ("audio", speech)):
        if name in encoder.frontends:
            encoder.frontends[name].tower.load_state_dict(tower.state_dict())  # type: ignore[union-attr]
    for projector in encoder.projectors.values():
        cast("Projector", projector).match_scale(encoder.table.weight * encoder.table.scale)
    check_trunk(encoder, trunk)
    check_frontends(encoder)
    return encoder


def _fill_trunk(encoder: UnifiedEncoder, trunk: "PreTrainedModel") -> None:
    """Word embeddings of ``trunk`` into the table, the rest into the encoder's trunk."""
    state = trunk.state_dict()
    name = table_name(trunk)
    table = state.pop(name)
    if len(table) < encoder.preprocessor.tokenizer.get_vocab_size():
        raise ArtifactError(
            f"the tokenizer knows {encoder.preprocessor.tokenizer.get_vocab_size()} tokens, the trunk {len(table)}; "
            "take both from one model"
        )
    encoder.table.load_state_dict({"weight": table.half()})
    loaded = encoder.trunk.load_state_dict(state, strict=False)
    missing = sorted(set(loaded.missing_keys) - {table_name(encoder.trunk)})
    if missing or loaded.unexpected_keys:
        raise ArtifactError(f"the trunk's weights do not fit: missing {missing}, unexpected {loaded.unexpected_keys}")

"""Assemble a fresh unified encoder from converted weights: pretrained towers and trunk, new projectors."""

from typing import Any, cast

import torch

from model.unified.config import UnifiedConfig
from model.unified.encoder import UnifiedEncoder
from model.unified.projector import Projector
from model.weights.load import load_image_tower, load_speech_tower, load_text_trunk
from model.weights.store import TOKENIZER, WeightPaths, load_config


def build_encoder(paths: WeightPaths, settings: dict[str, Any], *, source: str, seed: int = 0) -> UnifiedEncoder:
    """Build the encoder that training starts from.

    Args:
        paths: converted weights of text trunk, image tower and speech tower.
        settings: fields of ``UnifiedConfig`` that the recipe sets; trunk and towers come from the weights.
        source: stated in the configuration as the origin of the weights.
        seed: of the new projectors; the global random state is kept.

    Raises:
        ConfigError: unknown or impossible settings.
    """
    image, speech, trunk = load_image_tower(paths.image), load_speech_tower(paths.audio), load_text_trunk(paths.text)
    width = trunk.config.hidden_size
    given = {
        "dimensions": [d for d in (384, 256, 128, 64) if d <= width] or [width],
        "trunk": load_config(paths.text),
        "image_tower": image.config.model_dump(mode="json"),
        "audio_tower": speech.config.model_dump(mode="json"),
        "source": source,
        **settings,
    }
    config = UnifiedConfig.parse(given)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = UnifiedEncoder(config, (paths.text / TOKENIZER).read_text(encoding="utf-8"))
    state = trunk.state_dict()
    table = state.pop("embeddings.word_embeddings.weight")
    encoder.table.load_state_dict({"weight": table.half()})
    encoder.trunk.load_state_dict(state, strict=False)
    for name, tower in (("image", image), ("video", image), ("audio", speech)):
        encoder.frontends[name].tower.load_state_dict(tower.state_dict())  # type: ignore[union-attr]
    for projector in encoder.projectors.values():
        cast("Projector", projector).match_scale(table)
    return encoder.eval()

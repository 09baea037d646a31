"""Checks of a freshly assembled encoder, so that an unsuitable trunk or tower is refused before any training.

Shape legend: L positions, H trunk width.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.errors import ConfigError, ContentError
from model.unified.encoder import UnifiedEncoder
from model.unified.sound import input_shape

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROBE_TOKENS = 8
TOLERANCE = 0.01  # relative; the table is kept in half precision
NO_EFFECT = 1e-7


@torch.inference_mode()
def check_trunk(encoder: UnifiedEncoder, trunk: "PreTrainedModel") -> None:
    """Compare text through our table and trunk with ``trunk`` as transformers runs it, and try both directions.

    Raises:
        ConfigError: the outputs differ, or the first token does not see the last.
    """
    kind = trunk.config.model_type
    padding = getattr(trunk.config, "pad_token_id", None)
    known = [i for i in range(encoder.table.num_embeddings) if i != padding][-PROBE_TOKENS:]
    ids_1L = torch.tensor([known])
    expected_1LH = trunk(input_ids=ids_1L, attention_mask=torch.ones_like(ids_1L)).last_hidden_state
    found_1LH = _states(encoder, ids_1L)
    difference = float((found_1LH - expected_1LH).norm() / expected_1LH.norm())
    if not difference < TOLERANCE:
        raise ConfigError(
            f"a {kind!r} trunk that is handed token embeddings differs from itself with token ids by {difference:.3f} "
            "(relative): it does something to them that Omnivec does not know; choose another trunk"
        )
    changed_1L = torch.cat([ids_1L[:, :-1], ids_1L[:, :1]], dim=1)
    if float((_states(encoder, changed_1L)[0, 0] - found_1LH[0, 0]).abs().max()) < NO_EFFECT:
        raise ConfigError(
            f"the first token of a {kind!r} trunk does not see the last: it is causal, or its window is too short. A "
            "trunk must be bidirectional (for gemma3_text set use_bidirectional_attention=true)"
        )


def _states(encoder: UnifiedEncoder, ids_1L: Tensor) -> Tensor:
    embeds_1LH = encoder.table(ids_1L)
    states_1LH: Tensor = encoder.trunk(
        inputs_embeds=embeds_1LH, attention_mask=torch.ones_like(ids_1L)
    ).last_hidden_state
    return states_1LH


@torch.inference_mode()
def check_frontends(encoder: UnifiedEncoder) -> None:
    """Run every tower on an empty input of the largest size.

    Raises:
        ConfigError: a tower refuses the size of pictures or frames, or the length of windows.
    """
    config = encoder.config
    for name, frontend in encoder.frontends.items():
        if name == "audio":
            assert config.audio_tower is not None
            tokens = round(config.audio.window_seconds / config.audio.token_seconds)
            shape: tuple[int, ...] = input_shape(config.audio_tower, tokens * config.token_samples)
        else:
            size = config.image.size if name == "image" else config.video.size
            shape = (3, size, size)
        try:
            frontend(torch.zeros(1, *shape))
        except ContentError as error:
            raise ConfigError(f"{name}: {error}") from error

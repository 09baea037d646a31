"""What the preprocessor hands to the network: numpy arrays only, so that serving with ONNX needs no torch.

Shape legend: N contents, L sequence positions, K media tokens of one modality, B tower inputs of equal shape,
T tokens per tower input, G cells that one token sees, C tower channels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
# What a tower takes: pixels stay the bytes they were decoded to until they lie on the device of the model.
Inputs = NDArray[np.float32 | np.uint8]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Unit:
    """One input of ``tower`` and how many tokens it yields.

    ``first`` is the position of its first token in its item; ``ids`` are text tokens that follow, as of a page.
    """

    tower: str
    tokens: int
    first: int
    inputs: Inputs | None = None
    features: Array | None = None
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class TowerCall:
    """Inputs of equal shape for one tower, and the media tokens [B, T] that they fill."""

    inputs: Inputs
    tokens_BT: Indices


@dataclass(frozen=True)
class MediaTokens:
    """All tokens of one modality in a batch.

    ``features_KGC`` holds features that were computed before (frozen towers); rows filled by a tower call are zero.
    Token k goes to sequence ``row_K[k]`` at place ``column_K[k]`` and is the ``position_K[k]``-th of its item.
    """

    features_KGC: Array | None
    position_K: Indices
    row_K: Indices
    column_K: Indices
    calls: tuple[TowerCall, ...]


@dataclass(frozen=True)
class UnifiedBatch:
    """N sequences; media slots carry the padding id in ``token_ids_NL`` and are filled from ``media``."""

    token_ids_NL: Indices
    mask_NL: Indices
    media: dict[str, MediaTokens]

    def __len__(self) -> int:
        return len(self.token_ids_NL)

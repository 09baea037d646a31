"""Share of the hardware's peak that the trunk's arithmetic reaches (MFU), where peak and arithmetic are both known.

Shape legend: N sequences, L positions, T tokens in all.

Counted as in PaLM (arXiv 2204.02311, appendix B): two operations a weight and token forward, attention besides; padding
and recomputation do not count. Backward costs as much again for activations, from the first place that learns, and for
the weights that learn. Towers, projectors and loss are not counted, so the share is a lower bound.
"""

from collections.abc import Collection

import numpy as np
import torch
from torch import nn

from model.training.batch import Pooled, Side
from model.training.parts import Parted
from model.unified.batch import Indices, UnifiedBatch
from model.unified.encoder import UnifiedEncoder

# Dense peak in operations per second by precision; NVIDIA data sheets of the SXM parts (L4, L40S: the cards).
PEAKS = {
    "H200": {"bf16-mixed": 989.4e12, "32-true": 66.9e12},
    "H100 80GB": {"bf16-mixed": 989.4e12, "32-true": 66.9e12},
    "A100": {"bf16-mixed": 312e12, "32-true": 19.5e12},
    "L40S": {"bf16-mixed": 362e12, "32-true": 91.6e12},
    "L4": {"bf16-mixed": 121e12, "32-true": 30.3e12},
}


def peak_of(device: torch.device, precision: str) -> float | None:
    """Operations per second that ``device`` can do at best, or None where nobody has told us."""
    if device.type != "cuda":
        return None
    if precision == "32-true" and torch.get_float32_matmul_precision() != "highest":
        return None  # TF32 takes part, to a degree that depends on the operation
    name = torch.cuda.get_device_name(device)
    words = name.split()
    found = [peaks for part, peaks in PEAKS.items() if all(word in words for word in part.split())]
    return found[0].get(precision) if found else None


class TrunkFlops:
    """Operations that training on a batch takes in the trunk of a unified encoder.

    Args:
        encoder: whose trunk it is.
        learning: names of the parameters that learn.
    """

    def __init__(self, encoder: UnifiedEncoder, learning: Collection[str]) -> None:
        weights = [
            (f"trunk.{name}.weight", module.weight.numel())
            for name, module in encoder.trunk.named_modules()
            if isinstance(module, nn.Linear)
        ]
        self.forward_per_token = 2 * sum(count for _, count in weights)
        self.weights_per_token = 2 * sum(count for name, count in weights if name in learning)
        config = encoder.trunk.config
        self.attention = 4 * config.hidden_size * config.num_hidden_layers
        below = any(not name.startswith(("trunk.", "head.")) for name in learning)
        first = next((i for i, (name, _) in enumerate(weights) if name in learning), len(weights))
        later = sum(count for _, count in weights[first:])
        self.backward_share = 1.0 if below else 2 * later / max(1, self.forward_per_token)

    def __call__(self, side: Side) -> float | None:
        """Operations for one side, forward and backward; None when towers run too, 0 for states pooled before."""
        if isinstance(side, Pooled):
            return 0.0
        if isinstance(side, Parted):
            return None if side.towers else self._of(np.concatenate(side.lengths))
        if not isinstance(side, UnifiedBatch) or any(media.calls for media in side.media.values()):
            return None
        return self._of(side.mask_NL.sum(1))

    def _of(self, length_N: Indices) -> float:
        lengths_N = length_N.astype(float)
        tokens, squares = float(lengths_N.sum()), float((lengths_N**2).sum())
        forward = self.forward_per_token * tokens + self.attention * squares
        activations = self.forward_per_token * tokens + 2 * self.attention * squares
        total: float = forward + self.backward_share * activations + self.weights_per_token * tokens
        return total

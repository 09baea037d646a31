"""Gradient caching: a batch as large as the loss wants, with activations of one small piece of it at a time.

GradCache (arXiv 2101.06983): embed every piece without a graph; differentiate the loss by the embeddings alone; embed
every piece again, now with a graph, and go on backward from the cached gradients. The gradients are those of one big
forward pass, if the second pass repeats the first one: so the state of the random generators is kept for each piece.

Shape legend: N embeddings of one side, n of one piece, D dimensions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.errors import ConfigError


@dataclass(frozen=True)
class Piece:
    """Rows [n] of a side and how to embed them, shape [n, D]; the call may draw random numbers."""

    rows_n: Tensor
    embed: Callable[[], Tensor]


class RandomState:
    """State of the generators of the CPU and of one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cpu = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore(self) -> None:
        """Go back to this state."""
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)


def backward_in_pieces(
    sides: Sequence[Sequence[Piece]], loss: Callable[..., dict[str, Tensor]], device: torch.device
) -> dict[str, Tensor]:
    """Add the gradients of a loss over whole sides to the parameters, holding the activations of one piece at a time.

    Args:
        sides: for each argument of ``loss`` its pieces, which together cover each row once.
        loss: takes one tensor [N, D] for each side; ``loss`` of its result is differentiated, so parameters that it
            uses itself, such as a temperature, get their gradients too.
        device: whose generator ``embed`` may use beside the CPU's.

    Returns:
        The result of ``loss``, detached.

    Raises:
        ConfigError: pieces overlap or leave rows out.
    """
    states: list[list[RandomState]] = []
    leaves: list[Tensor] = []
    for pieces in sides:
        _check(pieces)
        states.append([])
        parts = []
        with torch.no_grad():
            for piece in pieces:
                states[-1].append(RandomState(device))
                parts.append(piece.embed())
        order_N = torch.cat([piece.rows_n for piece in pieces]).argsort()
        leaves.append(torch.cat(parts)[order_N.to(parts[0].device)].requires_grad_())
    after = RandomState(device)
    result = loss(*leaves)
    result["loss"].backward()  # type: ignore[no-untyped-call]
    for pieces, before, leaf in zip(sides, states, leaves, strict=True):
        assert leaf.grad is not None
        for piece, state in zip(pieces, before, strict=True):
            state.restore()
            embedded_nD = piece.embed()
            if embedded_nD.requires_grad:  # a side may be frozen
                torch.autograd.backward(embedded_nD, leaf.grad[piece.rows_n.to(leaf.device)])
    after.restore()
    return {name: value.detach() for name, value in result.items()}


def _check(pieces: Sequence[Piece]) -> None:
    rows_N = torch.cat([piece.rows_n for piece in pieces]) if pieces else torch.zeros(0, dtype=torch.int64)
    if not len(rows_N) or not torch.equal(rows_N.sort().values, torch.arange(len(rows_N))):
        raise ConfigError(f"the pieces of a side must cover each of its rows once, got {rows_N.tolist()[:20]}")

"""Gradient caching: a batch as large as the loss wants, with activations of one small piece of it at a time.

GradCache (arXiv 2101.06983): embed every piece without a graph; differentiate the loss by the embeddings alone; embed
every piece again, now with a graph, and go on backward from the cached gradients. The gradients are those of one big
forward pass, if the second pass repeats the first one: so the state of the random generators is kept for each piece.
While the loss is computed no activations are held, so there is room for those of some pieces: these are embedded once,
with a graph, and go backward first. That costs no memory beyond what the others need after them.

Shape legend: N embeddings of one side, n of one piece, D dimensions.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.errors import ConfigError


@dataclass(frozen=True)
class Piece:
    """Rows [n] of a side and how to embed them, shape [n, D]; the call may draw random numbers.

    ``cost`` is what its activations take, in any unit.
    """

    rows_n: Tensor
    embed: Callable[[], Tensor]
    cost: int = 1


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


@dataclass(frozen=True)
class _Embedded:
    """A piece after its first pass: vectors [n, D], with a graph or with what it takes to repeat the pass.

    The piece itself is not held: what it embeds may be large.
    """

    rows_n: Tensor
    vectors_nD: Tensor
    before: RandomState | None

    @classmethod
    def of(cls, piece: Piece, device: torch.device, *, graph: bool) -> "_Embedded":
        if graph:
            return cls(piece.rows_n, piece.embed(), None)
        before = RandomState(device)
        with torch.no_grad():
            return cls(piece.rows_n, piece.embed(), before)

    def again(self, piece: Piece) -> Tensor:
        """Vectors [n, D] with a graph, as in the first pass."""
        assert self.before is not None
        self.before.restore()
        return piece.embed()

    def backward(self, vectors_nD: Tensor, grad_ND: Tensor) -> None:
        """Go on backward from the gradient by the vectors of the whole side."""
        if vectors_nD.requires_grad:  # a side may be frozen
            torch.autograd.backward(vectors_nD, grad_ND[self.rows_n.to(grad_ND.device)])


def backward_in_pieces(
    sides: Sequence[Iterable[Piece]], loss: Callable[..., dict[str, Tensor]], device: torch.device, *, keep: int = 0
) -> dict[str, Tensor]:
    """Add the gradients of a loss over whole sides to the parameters, holding the activations of one piece at a time.

    Args:
        sides: for each argument of ``loss`` its pieces, which together cover each row once. Each is gone through
            twice and gives the same pieces; with ``keep`` of 0 it may make them as it goes, and none is held.
        loss: takes one tensor [N, D] for each side; ``loss`` of its result is differentiated, so parameters that it
            uses itself, such as a temperature, get their gradients too.
        device: whose generator ``embed`` may use beside the CPU's.
        keep: activations of pieces that cost so much together are held while the loss is computed, so that those
            pieces are embedded once; as much as one piece may cost changes the peak of memory little.

    Returns:
        The result of ``loss``, detached.

    Raises:
        ConfigError: pieces overlap or leave rows out.
    """
    kept = _kept([piece for pieces in sides for piece in pieces], keep) if keep else set()
    embedded: list[list[_Embedded]] = []
    leaves: list[Tensor] = []
    for pieces in sides:
        embedded.append([_Embedded.of(piece, device, graph=id(piece) in kept) for piece in pieces])
        order_N = _rows(embedded[-1]).argsort()
        vectors_ND = torch.cat([done.vectors_nD.detach() for done in embedded[-1]])
        leaves.append(vectors_ND[order_N.to(vectors_ND.device)].requires_grad_())
    after = RandomState(device)
    result = loss(*leaves)
    result["loss"].backward()  # type: ignore[no-untyped-call]
    grads = [_gradient(leaf) for leaf in leaves]
    for done_pieces, grad_ND in zip(embedded, grads, strict=True):  # what holds activations first
        for done in done_pieces:
            if done.before is None:
                done.backward(done.vectors_nD, grad_ND)
    for pieces, done_pieces, grad_ND in zip(sides, embedded, grads, strict=True):
        for piece, done in zip(pieces, done_pieces, strict=True):
            if done.before is not None:
                done.backward(done.again(piece), grad_ND)
    after.restore()
    return {name: value.detach() for name, value in result.items()}


def _kept(pieces: Sequence[Piece], room: int) -> set[int]:
    """Identities of the pieces whose activations are kept: the most expensive first, as long as there is room."""
    kept = set()
    for piece in sorted(pieces, key=lambda piece: -piece.cost):
        if piece.cost <= room:
            kept.add(id(piece))
            room -= piece.cost
    return kept


def _gradient(leaf_ND: Tensor) -> Tensor:
    assert leaf_ND.grad is not None
    return leaf_ND.grad


def _rows(pieces: Sequence[_Embedded]) -> Tensor:
    rows_N = torch.cat([piece.rows_n for piece in pieces]) if pieces else torch.zeros(0, dtype=torch.int64)
    if not len(rows_N) or not torch.equal(rows_N.sort().values, torch.arange(len(rows_N))):
        raise ConfigError(f"the pieces of a side must cover each of its rows once, got {rows_N.tolist()[:20]}")
    return rows_N

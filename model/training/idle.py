"""Calls of a sharded trunk that a process makes only because others make them, so that none waits for ever."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from model.losses.cache import Piece
from model.sentence_transformer.batch import Group, GroupedBatch
from model.training.batch import Side


def most(count: int, device: torch.device) -> int:
    """The largest count of any process."""
    counts = torch.tensor(count, device=device)
    dist.all_reduce(counts, op=dist.ReduceOp.MAX)
    return int(counts)


class EvenPieces:
    """The pieces of a side, as many in every process: where one has fewer, its smallest again, without rows.

    Rows that nobody asks for have gradients of zero. A side that is decoded part by part does not know before how many
    pieces it has, so the processes agree run by run: all pieces of a side that is there, or those of its next part.

    Args:
        runs: gives the pieces of this process's side, run by run, the same each time; the first one is not empty.
        device: where the processes exchange numbers.
    """

    def __init__(self, runs: Callable[[], Iterable[list[Piece]]], device: torch.device) -> None:
        self.runs = runs
        self.device = device

    def __iter__(self) -> Iterator[Piece]:
        """Ends in all processes together."""
        runs = iter(self.runs())
        smallest: Piece | None = None
        while True:
            pieces = next(runs, [])
            count = most(len(pieces), self.device)
            if not count:
                return
            smallest = min([*pieces, smallest] if smallest else pieces, key=lambda piece: len(piece.rows_n))
            yield from pieces
            for _ in range(count - len(pieces)):
                yield Piece(smallest.rows_n[:0], partial(_no_rows, smallest))


def _no_rows(piece: Piece) -> Tensor:
    return piece.embed()[:0]


def embed_evenly(embed: Callable[[Side], Tensor], side: Side, device: torch.device) -> Tensor:
    """Vectors of a side, by as many calls in every process, where each kind of content is a call of its own.

    Processes agree on the number before the first call, in which they wait for each other already.
    """
    if not isinstance(side, GroupedBatch):
        return embed(side)
    missing = most(len(side.groups), device) - len(side.groups)
    smallest = min(side.groups, key=lambda group: len(group.rows))
    idle = GroupedBatch((Group(tuple(range(len(smallest.rows))), smallest.features),), len(smallest.rows))
    return torch.cat([embed(side), *(embed(idle)[:0] for _ in range(missing))])

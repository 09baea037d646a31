"""Calls of a sharded trunk that a process makes only because others make them, so that none waits for ever."""

from collections.abc import Callable, Sequence

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


def even_pieces(pieces: Sequence[Piece], device: torch.device) -> list[Piece]:
    """As many pieces in every process: the smallest again, without rows, so that its gradients are zero."""
    smallest = min(pieces, key=lambda piece: len(piece.rows_n))
    idle = Piece(smallest.rows_n[:0], lambda: smallest.embed()[:0])
    return [*pieces, *[idle] * (most(len(pieces), device) - len(pieces))]


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

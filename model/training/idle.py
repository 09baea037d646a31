"""Calls of a sharded trunk that a process makes only because others make them, so that none waits for ever."""

from collections.abc import Sequence

import torch
import torch.distributed as dist

from model.losses.cache import Piece


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

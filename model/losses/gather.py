"""Exchange between processes with exact gradients; each process keeps only its own rows of every gradient.

The gradient of what is gathered is the sum of what all processes want of it, so the sum of the processes' losses is
differentiated, not one process's loss with the other rows held constant (which several libraries ship).
Without ``torch.distributed``, or in a group of one, everything here is the identity.

Shape legend: W processes, N rows of this process, T rows of all processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is."""
    return dist.get_rank() if processes() > 1 else 0


def counts_of(values: Sequence[int], device: torch.device) -> list[list[int]]:
    """The values of every process, in order of rank."""
    if processes() == 1:
        return [list(values)]
    own = torch.tensor(values, dtype=torch.int64, device=device)
    found = own.new_empty(processes(), len(values))
    dist.all_gather_into_tensor(found, own[None])
    return found.tolist()


@dataclass(frozen=True)
class Counts:
    """Numbers of queries and documents of every process, or of this one where only its own batch matters."""

    queries: tuple[int, ...]
    documents: tuple[int, ...]

    @classmethod
    def of(cls, queries: int, documents: int, device: torch.device) -> Self:
        """Ask every process."""
        found = counts_of((queries, documents), device)
        return cls(tuple(n for n, _ in found), tuple(m for _, m in found))

    def alone(self) -> Self:
        """This process only."""
        return type(self)(self.queries[rank() :][:1], self.documents[rank() :][:1])

    @property
    def single(self) -> bool:
        """Whether there is nothing to exchange."""
        return len(self.queries) == 1

    @property
    def first_query(self) -> int:
        """Row of this process's first query among all."""
        return 0 if self.single else sum(self.queries[: rank()])

    @property
    def first_document(self) -> int:
        """Row of this process's first document among all."""
        return 0 if self.single else sum(self.documents[: rank()])


def gather_rows(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Rows of all processes in order of rank, shape [T, ...]; processes may hold different numbers of rows.

    Args:
        rows: this process's rows [N, ...]; everything but N is the same everywhere.
        counts: N of every process.
    """
    if len(counts) == 1:
        return rows
    found: Tensor = _Gather.apply(rows, tuple(counts))  # type: ignore[no-untyped-call]
    return found


def sum_over_processes(values: Tensor) -> Tensor:
    """Element by element sum over the processes."""
    if processes() == 1:
        return values
    found: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return found


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.counts = counts
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = rows.new_empty(len(counts) * max(counts), *rows.shape[1:])
        dist.all_gather_into_tensor(found, padded)
        if min(counts) == max(counts):
            return found
        return torch.cat([part[:count] for part, count in zip(torch.split(found, max(counts)), counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        counts: tuple[int, ...] = ctx.counts
        padded = grad.new_zeros(len(counts), max(counts), *grad.shape[1:])
        for place, part in zip(padded, torch.split(grad, list(counts)), strict=True):
            place[: len(part)] = part
        own = torch.empty_like(padded[0])
        dist.reduce_scatter_tensor(own, padded.flatten(0, 1))
        return own[: counts[rank()]], None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone()
        dist.all_reduce(total)
        return total

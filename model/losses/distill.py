"""Distillation: a student's vectors are drawn to a teacher's, exactly and in memory that grows with N.

Two parts, each a mean over queries and documents alike and over the student's Matryoshka prefixes:

- *relation*: the divergence KL(teacher || student) of the softmax over the cosines of a query with every document of
  the batch, and of a document with every query. Teacher and student may have any dimensions. Nothing is masked: what
  a contrastive loss has to take for a negative, the teacher has an opinion of.
- *geometry*: the squared distance to the teacher's vector of the same content, at unit length, so twice one minus the
  cosine. A longer teacher gives the prefixes that it was trained for, renormalised.

Both passes over the pairs take a few rows at a time, and the backward pass computes them again.

Shape legend: N queries, M documents, D dimensions of the student, E of the teacher, R rows and C columns of all pairs,
r rows at a time, d and e dimensions of one prefix.

Sources: see ``model.losses.config.DistillConfig``; Hinton et al. (arXiv 1503.02531) for temperatures.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import log_softmax, normalize

from model.errors import ConfigError
from model.losses.config import DistillConfig
from model.losses.gather import Counts, gather_rows, processes

ELEMENTS = 2**20  # of a block of pairs: 4 MiB of single precision; some six of them are held at a time

Sides = tuple[Tensor, Tensor]


def distill_loss(
    student: Sides,
    teacher: Sides,
    config: DistillConfig,
    *,
    dimensions: Sequence[int],
    teacher_dimensions: Sequence[int],
    elements: int = ELEMENTS,
) -> dict[str, Tensor]:
    """Loss of the queries and documents of this process; its mean over the processes is that of the whole batch.

    Args:
        student: queries [N, D] and documents [M, D] of this process; only directions matter.
        teacher: vectors [N, E] and [M, E] of the same contents; they get no gradient.
        config: weights, temperatures, scope.
        dimensions: Matryoshka prefixes of the student; each weighs the same.
        teacher_dimensions: those of the teacher, E among them.
        elements: how many pairs to look at at a time.

    Returns:
        ``loss`` and the parts with a weight, unweighted. Scalars.

    Raises:
        ConfigError: shapes differ, or geometry has no prefix to compare.
    """
    _check(student, teacher, dimensions)
    prefixes = tuple(sorted(set(dimensions)))
    counts = Counts.of(len(student[0]), len(student[1]), student[0].device)
    totals = (sum(counts.queries), sum(counts.documents))
    weights = [processes() / total / 2 for total in totals]
    dtype = torch.float64 if student[0].dtype == torch.float64 else torch.float32
    parts: dict[str, Tensor] = {}
    with torch.autocast(student[0].device.type, enabled=False):
        own = [side.to(dtype) for side in student]
        known = [normalize(side.to(dtype), dim=1) for side in teacher]
        if config.relation:
            scope = counts if config.negatives == "everywhere" else counts.alone()
            every = (scope.queries, scope.documents)
            scales = (1 / config.temperature, 1 / config.teacher_temperature)
            sums = [
                _relation((own[i], own[1 - i]), (known[i], known[1 - i]), every[1 - i], prefixes, scales, elements)
                for i in (0, 1)
            ]
            parts["relation"] = weights[0] * sums[0] + weights[1] * sums[1]
        if config.geometry:
            chosen = shared_prefixes(prefixes, teacher_dimensions)
            distances = [_geometry(mine, theirs, chosen) for mine, theirs in zip(own, known, strict=True)]
            parts["geometry"] = weights[0] * distances[0] + weights[1] * distances[1]
    loss = torch.stack([getattr(config, name) * value for name, value in parts.items()]).sum()
    return {"loss": loss, **parts}


def shared_prefixes(dimensions: Sequence[int], teacher_dimensions: Sequence[int]) -> tuple[int, ...]:
    """Prefixes of the student at which the teacher has a vector of its own.

    Raises:
        ConfigError: the student's whole vector is not among them.
    """
    least, most = min(teacher_dimensions), max(teacher_dimensions)
    found = tuple(d for d in sorted(set(dimensions)) if least <= d <= most)
    if max(dimensions) not in found:
        raise ConfigError(
            f"geometry compares vectors of equal length: the student has {max(dimensions)} dimensions, the teacher "
            f"{f'prefixes of {least} to {most}' if least < most else most}. Set geometry to 0 and let relation do it, "
            "which takes any dimensions, or choose another teacher"
        )
    return found


def _relation(
    rows: Sides,
    teacher: Sides,
    counts: Sequence[int],
    prefixes: Sequence[int],
    scales: tuple[float, float],
    elements: int,
) -> Tensor:
    """Sum over this process's rows of their divergence over the columns of all, mean over prefixes.

    Args:
        rows: the student's rows [R, D] and this process's columns.
        teacher: the same of the teacher, at unit length.
        counts: columns of every process.
        prefixes: of the student.
        scales: inverse temperatures of student and teacher.
        elements: pairs at a time.
    """
    columns_CD, teacher_CE = gather_rows(rows[1], counts), gather_rows(teacher[1], counts)
    student = [normalize(side[:, :d], dim=1) for d in prefixes for side in (rows[0], columns_CD)]
    total: Tensor = _Divergence.apply(teacher[0], teacher_CE, scales, elements, *student)  # type: ignore[no-untyped-call]
    return total / len(prefixes)


class _Divergence(torch.autograd.Function):
    """Sum over rows and prefixes of KL(teacher || student); the student's unit vectors are rows, columns, rows, ..."""

    @staticmethod
    def forward(
        ctx: Any, row_RE: Tensor, column_CE: Tensor, scales: tuple[float, float], elements: int, *student: Tensor
    ) -> Tensor:
        ctx.save_for_backward(row_RE, column_CE, *student)
        ctx.scales, ctx.elements = scales, elements
        total = row_RE.new_zeros((), dtype=torch.float64)
        for rows, log_rC in _teacher(row_RE, column_CE, scales[1], elements):
            share_rC = log_rC.exp()
            for row_Rd, column_Cd in zip(student[::2], student[1::2], strict=True):
                found_rC = log_softmax((row_Rd[rows] @ column_Cd.T).mul_(scales[0]), 1)
                total -= found_rC.sub_(log_rC).mul_(share_rC).sum()
        return total.to(row_RE.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        row_RE, column_CE, *student = ctx.saved_tensors
        grads = [torch.zeros_like(vectors) for vectors in student]
        with torch.autocast(row_RE.device.type, enabled=False):
            for rows, log_rC in _teacher(row_RE, column_CE, ctx.scales[1], ctx.elements):
                share_rC = log_rC.exp()
                for k in range(0, len(student), 2):
                    row_rd, column_Cd = student[k][rows], student[k + 1]
                    by_cosine_rC = torch.softmax((row_rd @ column_Cd.T).mul_(ctx.scales[0]), 1).sub_(share_rC)
                    by_cosine_rC *= grad * ctx.scales[0]
                    grads[k][rows] = by_cosine_rC @ column_Cd
                    grads[k + 1].addmm_(by_cosine_rC.T, row_rd)
        return None, None, None, None, *grads


def _teacher(row_RE: Tensor, column_CE: Tensor, scale: float, elements: int) -> Any:
    """Slices of rows, and the logarithm of the teacher's shares of all columns for them."""
    step = max(1, elements // max(1, len(column_CE)))
    for start in range(0, len(row_RE), step):
        rows = slice(start, min(start + step, len(row_RE)))
        yield rows, log_softmax((row_RE[rows] @ column_CE.T).mul_(scale), 1)


def _geometry(student_ND: Tensor, teacher_NE: Tensor, prefixes: Sequence[int]) -> Tensor:
    """Sum over contents of the squared distance of unit vectors, mean over prefixes."""
    sums = [
        (normalize(student_ND[:, :d], dim=1) - normalize(teacher_NE[:, :d], dim=1)).square().sum() for d in prefixes
    ]
    return torch.stack(sums).mean()


def _check(student: Sides, teacher: Sides, dimensions: Sequence[int]) -> None:
    width, theirs = student[0].shape[1], teacher[0].shape[1]
    good = student[1].shape[1] == width and teacher[1].shape[1] == theirs and len(dimensions) > 0
    rows = [(len(a), len(b)) for a, b in zip(student, teacher, strict=True)]
    if not good or any(a != b for a, b in rows) or not all(0 < d <= width for d in dimensions):
        raise ConfigError(
            f"student {[tuple(s.shape) for s in student]}, teacher {[tuple(t.shape) for t in teacher]}, prefixes "
            f"{list(dimensions)}: need as many teacher vectors as student vectors on each side, equal widths within "
            f"each, and at least one prefix, each in 1..{width}"
        )

"""Sums of exponentials over all pairs of two sets of vectors, differentiable without keeping any matrix of pairs.

Shape legend: R row vectors, C column vectors, D dimensions, K Matryoshka prefixes, E listed pairs, r and c rows and
columns of a tile.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.losses.tiles import Block, Tile, Walk, row_dots


@dataclass(frozen=True)
class Sums:
    """Sums of exponentials [K, R] and [K, C], logits of listed pairs [K, E], largest exponential of each row [R]."""

    row_KR: Tensor
    column_KC: Tensor
    listed_KE: Tensor
    best_R: Tensor


def pair_sums(row_RD: Tensor, column_CD: Tensor, scale: Tensor, block: Block) -> Sums:
    """Sum ``exp(scale * cosine)`` over the pairs that count; differentiable in vectors and scale, once.

    Args:
        row_RD: vectors [R, D], of any length: the cosine is taken over each prefix.
        column_CD: vectors [C, D].
        scale: scalar tensor, the inverse temperature.
        block: which pairs count.
    """
    row_KR, column_KC, listed_KE, best_R = _PairSums.apply(  # type: ignore[no-untyped-call]
        row_RD, column_CD, scale, block
    )
    return Sums(row_KR, column_KC, listed_KE, best_R)


class _PairSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, row_RD: Tensor, column_CD: Tensor, scale: Tensor, block: Block
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.save_for_backward(row_RD, column_CD, scale)
        ctx.block = block
        with torch.autocast(row_RD.device.type, enabled=False):
            walk = Walk(row_RD, column_CD, scale, block)
            sums = _forward(walk)
        ctx.mark_non_differentiable(sums[-1])
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        row_RD, column_CD, scale = ctx.saved_tensors
        with torch.autocast(row_RD.device.type, enabled=False):
            walk = Walk(row_RD, column_CD, scale, ctx.block)
            grad_RD, grad_CD, grad_scale = _backward(walk, *grads[:3])
        return grad_RD.to(row_RD.dtype), grad_CD.to(column_CD.dtype), grad_scale.to(scale.dtype), None


def _forward(walk: Walk) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    prefixes, new = len(walk.block.prefixes), walk.row_RD.new_zeros
    row_KR = new(prefixes, len(walk.row_RD), dtype=walk.wide)
    column_KC = new(prefixes, len(walk.column_CD), dtype=walk.wide)
    sorted_KE = new(prefixes, len(walk.block.listed.row_E), dtype=walk.dtype)
    best_R = new(len(walk.row_RD), dtype=walk.wide)
    for tile in walk.tiles():
        found, inside = walk.place(tile)
        for k, logits_rc in enumerate(tile.logits):
            sorted_KE[k, found] = logits_rc[inside]
            for_row_rc, for_column_rc = walk.exponentials(tile, k)
            row_KR[k, tile.rows] += for_row_rc.sum(1)
            if walk.counts_columns(tile):
                column_KC[k, tile.columns] += for_column_rc.sum(0)
        best_R[tile.rows] = torch.maximum(best_R[tile.rows], for_row_rc.amax(1))
    if walk.block.symmetric:
        row_KR += column_KC
    listed_KE = torch.empty_like(sorted_KE)
    listed_KE[:, walk.listed[0]] = sorted_KE
    return row_KR, column_KC, listed_KE, best_R


def _backward(walk: Walk, row_KR: Tensor, column_KC: Tensor, listed_KE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by row vectors, column vectors and scale, from the gradients by the sums and the listed logits."""
    column_KC = row_KR if walk.block.symmetric else column_KC
    listed_KE = listed_KE[:, walk.listed[0]]
    whole = [torch.zeros_like(vectors, dtype=walk.dtype) for vectors in walk.whole]
    grad_RD, grad_CD = (grad[:, : walk.width] for grad in whole)
    shares = len(walk.block.prefixes) - 1  # of the gradient by the norm, for each prefix but the longest
    share_KR = walk.row_RD.new_zeros(shares, len(walk.row_RD), dtype=walk.dtype)
    share_KC = walk.row_RD.new_zeros(shares, len(walk.column_CD), dtype=walk.dtype)
    for tile in walk.tiles():
        product_rc: Tensor | None = None
        for k, (low, high) in reversed(list(enumerate(walk.segments()))):
            grad_rc = _tile_gradient(walk, tile, k, row_KR, column_KC, listed_KE)
            if k < shares:
                share_rc = grad_rc * tile.logits[k]
                share_KR[k, tile.rows] += share_rc.sum(1)
                share_KC[k, tile.columns] += share_rc.sum(0)
                row_r1, column_1c = walk.relative(k, tile.rows, tile.columns)
                grad_rc.mul_(row_r1).mul_(column_1c)
            product_rc = grad_rc if product_rc is None else product_rc.add_(grad_rc)
            grad_RD[tile.rows, low:high].addmm_(product_rc, tile.column_cD[:, low:high])
            grad_CD[tile.columns, low:high].addmm_(product_rc.T, tile.row_rD[:, low:high])
    grad_RD.mul_((walk.row_KR[-1] * walk.scale)[:, None])
    grad_CD.mul_(walk.column_KC[-1][:, None])
    total = _through_norms(grad_RD, walk.row_RD, walk.row_KR, share_KR, walk.block.prefixes)
    _through_norms(grad_CD, walk.column_CD, walk.column_KC, share_KC, walk.block.prefixes)
    return whole[0], whole[1], total / walk.scale


def _tile_gradient(walk: Walk, tile: Tile, k: int, row_KR: Tensor, column_KC: Tensor, listed_KE: Tensor) -> Tensor:
    """Gradient by the logits of prefix ``k`` in one tile."""
    found, inside = walk.place(tile)
    for_row_rc, for_column_rc = walk.exponentials(tile, k)
    row_r1, column_1c = row_KR[k, tile.rows, None], column_KC[k, None, tile.columns]
    if not walk.counts_columns(tile):
        grad_rc = for_row_rc.mul_(row_r1)
    elif for_row_rc is for_column_rc:
        grad_rc = for_row_rc.mul_(row_r1 + column_1c)
    else:
        grad_rc = for_row_rc.mul_(row_r1).add_(for_column_rc.mul_(column_1c))
    grad_rc = grad_rc.to(walk.dtype)
    grad_rc[inside] += listed_KE[k, found]
    return grad_rc


def _through_norms(
    grad_RD: Tensor, vector_RD: Tensor, inverse_KR: Tensor, share_KR: Tensor, prefixes: tuple[int, ...]
) -> Tensor:
    """Take out of each prefix's gradient, in place, what lies along the vector: the cosine does not change with length.

    Returns:
        The sum over all pairs and prefixes of logit times gradient by logit.
    """
    along_R = row_dots(vector_RD, grad_RD)
    share_KR = torch.cat([share_KR, (along_R - share_KR.sum(0))[None]])
    for k, width in enumerate(prefixes):
        factor_R1 = (share_KR[k] * inverse_KR[k].square())[:, None]
        grad_RD[:, :width].addcmul_(vector_RD[:, :width].to(grad_RD.dtype), factor_R1, value=-1)
    return along_R.sum()

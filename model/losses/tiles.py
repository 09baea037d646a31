"""Sums of exponentials over all pairs of two sets of vectors, tile by tile: what every contrastive term is made of.

No matrix of all pairs is ever held, neither forward nor for the backward pass, which computes each tile again (the
idea of FlashAttention, arXiv 2205.14135, and of Inf-CL, arXiv 2410.17243). Beyond its inputs and their gradients the
function needs a few tiles. Three things differ from those sources:

- Matryoshka prefixes share their products: the logits of a longer prefix are those of the shorter one plus the product
  of the columns in between, so all prefixes together cost one pass over D instead of one pass over each.
- Cosines are bounded, so sums of exponentials need no running maximum; where ``exp(1 / temperature)`` would leave the
  range of single precision, the sums are in double precision. Plain sums add up over tiles and over processes.
- Which pairs count is computed in each tile from lists of ids, so masks cost no N x N memory either.

Shape legend: R row vectors, C column vectors, D dimensions, K Matryoshka prefixes, E listed pairs, r and c rows and
columns of a tile, e listed pairs in a tile.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

SAFE_EXPONENT = 80.0  # exp(88) overflows single precision and exp(-87) loses digits
EPSILON = 1e-12  # smallest norm, as in torch.nn.functional.normalize
TILE = {"cpu": 1024}
TILE_ELSEWHERE = 4096  # 64 MiB of single precision


@dataclass(frozen=True)
class Listed:
    """Pairs with a treatment of their own, such as each document with its query: on the CPU, each pair once.

    ``negative_E`` is True where the pair counts as a negative and no rule hides it, False where it never counts.
    """

    row_E: Tensor
    column_E: Tensor
    negative_E: Tensor

    def by_tile(self, tile: int, device: torch.device) -> tuple[Tensor, dict[tuple[int, int], slice]]:
        """Order of the pairs by tile, and where in it the pairs of the tile that starts at (row, column) are."""
        row_E, column_E = self.row_E // tile, self.column_E // tile
        key_E, order_E = torch.sort(row_E * (int(column_E.max()) + 1) + column_E if len(row_E) else row_E, stable=True)
        _, counts = torch.unique_consecutive(key_E, return_counts=True)
        found: dict[tuple[int, int], slice] = {}
        start = 0
        for count in counts.tolist():
            first = int(order_E[start])
            found[int(row_E[first]) * tile, int(column_E[first]) * tile] = slice(start, start + count)
            start += count
        return order_E.to(device), found


@dataclass(frozen=True)
class Block:
    """Which pairs of R x C count, and how.

    Attributes:
        prefixes: Matryoshka prefixes, ascending.
        listed: pairs whose logits are returned and which no rule touches.
        bound: largest absolute logit that can occur.
        rules: ids (row [R], column [C]); a pair with equal ids under any rule does not count.
        limits: logits (row [R], column [C]); at the longest prefix a pair above the row's limit does not count in the
            row's sum, and one above the column's limit not in the column's.
        boosts: factors (all pairs, listed pairs) on the logits inside the sums, outside the gradient: hardness weights.
        columns: also give the sums over rows.
        symmetric: rows and columns are the same vectors; only half of the pairs is computed.
        tile: edge of a tile; by default one that suits the device.
    """

    prefixes: tuple[int, ...]
    listed: Listed
    bound: float
    rules: tuple[tuple[Tensor, Tensor], ...] = ()
    limits: tuple[Tensor, Tensor] | None = None
    boosts: tuple[Tensor | None, Tensor | None] = (None, None)
    columns: bool = True
    symmetric: bool = False
    tile: int | None = None


@dataclass(frozen=True)
class Tile:
    """Scaled vectors and, for each prefix, logits and exponentials of one tile."""

    rows: slice
    columns: slice
    row_rD: Tensor
    column_cD: Tensor
    logits: list[Tensor]
    over: tuple[Tensor, Tensor] | None
    hidden_rc: Tensor | None


class Walk:
    """Goes over the tiles of a block; the same tiles with the same numbers in both passes."""

    def __init__(self, row_RD: Tensor, column_CD: Tensor, scale: Tensor, block: Block) -> None:
        self.block = block
        self.width = block.prefixes[-1]
        self.dtype = torch.float64 if row_RD.dtype == torch.float64 else torch.float32
        exponent = block.bound + math.log(max(len(row_RD), len(column_CD), 1))
        self.wide = torch.float64 if exponent > SAFE_EXPONENT else self.dtype
        self.whole = (row_RD, column_CD)
        self.row_RD, self.column_CD = row_RD[:, : self.width], column_CD[:, : self.width]
        self.scale = scale.to(self.dtype)
        self.row_KR = inverse_norms(self.row_RD, block.prefixes, self.dtype)
        self.column_KC = inverse_norms(self.column_CD, block.prefixes, self.dtype)
        self.tile = block.tile or TILE.get(row_RD.device.type, TILE_ELSEWHERE)

    @cached_property
    def listed(self) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[tuple[int, int], slice]]:
        """Order, row in tile, column in tile and weight of the listed pairs, sorted by tile; slice of each tile."""
        device, listed = self.row_RD.device, self.block.listed
        order_E, places = listed.by_tile(self.tile, device)
        row_E, column_E = listed.row_E.to(device)[order_E], listed.column_E.to(device)[order_E]
        weight_E = listed.negative_E.to(device)[order_E].to(self.wide)
        return order_E, row_E % self.tile, column_E % self.tile, weight_E, places

    def tiles(self) -> Iterator[Tile]:
        """Every tile; of a symmetric block the upper half."""
        for top in range(0, len(self.row_RD), self.tile):
            rows = slice(top, min(top + self.tile, len(self.row_RD)))
            row_rD = self.row_RD[rows].to(self.dtype) * (self.row_KR[-1, rows] * self.scale)[:, None]
            for left in range(top if self.block.symmetric else 0, len(self.column_CD), self.tile):
                columns = slice(left, min(left + self.tile, len(self.column_CD)))
                column_cD = self.column_CD[columns].to(self.dtype) * self.column_KC[-1, columns][:, None]
                logits = self._logits(rows, columns, row_rD, column_cD)
                yield Tile(
                    rows,
                    columns,
                    row_rD,
                    column_cD,
                    logits,
                    self._over(rows, columns, logits),
                    self._hidden(rows, columns),
                )

    def segments(self) -> list[tuple[int, int]]:
        """First and last column of each step from a prefix to the next longer one."""
        return list(zip((0, *self.block.prefixes), self.block.prefixes, strict=False))

    def relative(self, k: int, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
        """What turns products of vectors scaled for the longest prefix into cosines of prefix ``k``."""
        row_r = self.row_KR[k, rows] / self.row_KR[-1, rows]
        return row_r[:, None], (self.column_KC[k, columns] / self.column_KC[-1, columns])[None]

    def _logits(self, rows: slice, columns: slice, row_rD: Tensor, column_cD: Tensor) -> list[Tensor]:
        product_rc: Tensor | None = None
        logits: list[Tensor] = []
        for k, (low, high) in enumerate(self.segments()):
            left, right = row_rD[:, low:high], column_cD[:, low:high].T
            product_rc = left @ right if product_rc is None else product_rc.addmm_(left, right)
            if high == self.width:
                logits.append(product_rc)
            else:
                row_r1, column_1c = self.relative(k, rows, columns)
                logits.append((product_rc * row_r1).mul_(column_1c))
        return logits

    def _hidden(self, rows: slice, columns: slice) -> Tensor | None:
        hidden_rc: Tensor | None = None
        for row_R, column_C in self.block.rules:
            equal_rc = row_R[rows, None] == column_C[None, columns]
            hidden_rc = equal_rc if hidden_rc is None else hidden_rc.logical_or_(equal_rc)
        return hidden_rc

    def _over(self, rows: slice, columns: slice, logits: list[Tensor]) -> tuple[Tensor, Tensor] | None:
        if self.block.limits is None:
            return None
        row_R, column_C = self.block.limits
        return logits[-1] > row_R[rows, None], logits[-1] > column_C[None, columns]

    def place(self, tile: Tile) -> tuple[slice, tuple[Tensor, Tensor]]:
        """Where in the sorted list the pairs of a tile are, and where in the tile."""
        _, row_E, column_E, _, places = self.listed
        found = places.get((tile.rows.start, tile.columns.start), slice(0, 0))
        return found, (row_E[found], column_E[found])

    def exponentials(self, tile: Tile, k: int) -> tuple[Tensor, Tensor]:
        """What each pair adds to its row's sum and to its column's sum; one and the same tensor without limits."""
        every, listed = self.block.boosts
        found, inside = self.place(tile)
        logits_rc = tile.logits[k]
        listed_e = logits_rc[inside] if listed is None else logits_rc[inside] * listed
        listed_e = listed_e.to(self.wide).exp() * self.listed[3][found]
        weight_rc = (logits_rc if every is None else logits_rc * every).to(self.wide).exp()
        if tile.hidden_rc is not None:
            weight_rc.masked_fill_(tile.hidden_rc, 0)
        weight_rc[inside] = listed_e
        if tile.over is None:
            return weight_rc, weight_rc
        return weight_rc.masked_fill(tile.over[0], 0), weight_rc.masked_fill(tile.over[1], 0)

    def counts_columns(self, tile: Tile) -> bool:
        """Whether the tile adds to sums of columns: in a symmetric block the diagonal has both halves in its rows."""
        if self.block.symmetric:
            return bool(tile.rows.start != tile.columns.start)
        return self.block.columns


def row_dots(one_RD: Tensor, other_CD: Tensor, index_R: Tensor | None = None, step: int = 4096) -> Tensor:
    """Dot product of each row with its own, or with row ``index_R`` of the other; few at a time: no copy; shape [R]."""
    parts = []
    for i in range(0, len(one_RD), step):
        other_rD = other_CD[i : i + step] if index_R is None else other_CD[index_R[i : i + step]]
        parts.append((one_RD[i : i + step] * other_rD).sum(1))
    return torch.cat(parts) if parts else one_RD.new_zeros(0)


def inverse_norms(vector_RD: Tensor, prefixes: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """One over the norm of each prefix of each vector; shape [K, R]."""
    norms = [torch.linalg.vector_norm(vector_RD[:, :width], dim=1, dtype=dtype) for width in prefixes]
    return torch.stack(norms).clamp_min_(EPSILON).reciprocal_()

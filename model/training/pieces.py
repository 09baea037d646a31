"""Cuts one side of a batch into pieces within a token budget, for gradient caching.

Shape legend: N contents, n contents of a piece, L sequence positions, K media tokens, B tower inputs, T tokens per
input.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from model.encoding import MEDIA_COST, plan_batches
from model.losses.cache import Piece
from model.sentence_transformer.batch import Group, GroupedBatch
from model.training.batch import Pooled, Side
from model.training.parts import Parted
from model.unified.batch import Indices, MediaTokens, TowerCall, UnifiedBatch


def pieces_of(side: Side, budget: int, embed: Callable[[Side], Tensor]) -> list[Piece]:
    """Pieces of ``side``, dearest contents first, each of at most ``budget`` padded tokens or of one content.

    What a tower has yet to see counts ``MEDIA_COST`` tokens besides.
    """
    return [
        Piece(torch.from_numpy(rows_n), lambda part=part: embed(part), cost_of(part))  # type: ignore[misc]
        for rows_n, part in cut(side, budget)
    ]


class PartedPieces:
    """Pieces of a side that is decoded part by part; they are made anew each time one goes through them."""

    def __init__(self, side: Parted, budget: int, embed: Callable[[Side], Tensor]) -> None:
        self.side = side
        self.budget = budget
        self.embed = embed

    def __iter__(self) -> Iterator[Piece]:
        """Those of the first part, dearest contents first, then those of the next."""
        for run in self.runs():
            yield from run

    def runs(self) -> Iterator[list[Piece]]:
        """The same by parts."""
        for first, part in self.side:
            yield [
                Piece(torch.from_numpy(rows_n + first), partial(self.embed, piece), cost_of(piece))
                for rows_n, piece in cut(part, self.budget)
            ]


def lazy_pieces(side: Side | Parted, budget: int, embed: Callable[[Side], Tensor]) -> list[Piece] | PartedPieces:
    """Pieces of a side, of which no more than a part is decoded at a time where it allows that."""
    return PartedPieces(side, budget, embed) if isinstance(side, Parted) else pieces_of(side, budget, embed)


def runs_of(pieces: list[Piece] | PartedPieces) -> Iterable[list[Piece]]:
    """The pieces by parts; those of a side that is there are one run."""
    return pieces.runs() if isinstance(pieces, PartedPieces) else [pieces]


def cost_of(part: Side) -> int:
    """Padded tokens of a part, inputs of towers included; contents of which only the head is left count one each."""
    if isinstance(part, Pooled):
        return len(part.states_NH)
    if isinstance(part, UnifiedBatch):
        return int(loads(part).max()) * len(part)
    ids = [group.features.get("input_ids") for group in part.groups]
    return sum(i.numel() if i is not None else len(g.rows) for i, g in zip(ids, part.groups, strict=True))


def loads(batch: UnifiedBatch) -> Indices:
    """Tokens of each content, and what the towers have to do for it in tokens; shape [N]."""
    load_N: Indices = batch.mask_NL.sum(1)
    for media in batch.media.values():
        for call in media.calls:
            np.add.at(load_N, media.row_K[call.tokens_BT[:, 0]], MEDIA_COST)
    return load_N


def cut(side: Side, budget: int) -> Iterator[tuple[Indices, Side]]:
    """Rows and contents of each piece."""
    if isinstance(side, Pooled):
        yield np.arange(len(side.states_NH)), side  # only the head is left to do
    elif isinstance(side, UnifiedBatch):
        for members in plan_batches(loads(side).tolist(), budget):
            rows_n = np.array(members)
            yield rows_n, take_rows(side, rows_n)
    else:
        for group in side.groups:
            for part in _cut_group(group, budget):
                local = Group(tuple(range(len(part.rows))), part.features)
                yield np.array(part.rows), GroupedBatch((local,), len(part.rows))


def take_rows(batch: UnifiedBatch, rows_n: Indices) -> UnifiedBatch:
    """The contents ``rows_n`` in that order, without columns that are padding in all of them."""
    mask_NL = batch.mask_NL[rows_n]
    width = int(np.flatnonzero(mask_NL.sum(0)).max()) + 1
    place_N = np.full(len(batch), -1)
    place_N[rows_n] = np.arange(len(rows_n))
    media = {name: part for name, m in batch.media.items() if (part := _take_media(m, place_N)) is not None}
    return UnifiedBatch(batch.token_ids_NL[rows_n, :width], mask_NL[:, :width], media)


def _take_media(media: MediaTokens, place_N: Indices) -> MediaTokens | None:
    kept_K = (place_N[media.row_K] >= 0).nonzero()[0]
    if not len(kept_K):
        return None
    number_K = np.full(len(media.row_K), -1)
    number_K[kept_K] = np.arange(len(kept_K))
    calls = []
    for call in media.calls:
        kept_B = (number_K[call.tokens_BT[:, 0]] >= 0).nonzero()[0]  # the tokens of one input are of one content
        if len(kept_B):
            calls.append(TowerCall(call.inputs[kept_B], number_K[call.tokens_BT[kept_B]]))
    features_KGC = None if media.features_KGC is None else media.features_KGC[kept_K]
    rows_K = place_N[media.row_K[kept_K]]
    return MediaTokens(features_KGC, media.position_K[kept_K], rows_K, media.column_K[kept_K], tuple(calls))


def _cut_group(group: Group, budget: int) -> Iterator[Group]:
    """Smaller groups where every feature has one row for each content; a group with others (grids) stays whole."""
    count = len(group.rows)
    if not all(isinstance(v, Tensor) and v.ndim and len(v) == count for v in group.features.values()):
        yield group
        return
    ids = group.features.get("input_ids")
    step = max(1, budget // (ids.shape[1] if ids is not None else 1))
    for start in range(0, count, step):
        features = {name: value[start : start + step] for name, value in group.features.items()}
        yield Group(group.rows[start : start + step], features)

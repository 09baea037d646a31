"""Join batches that were prepared apart, so that decoding happens once, item by item, before batching.

Shape legend: N contents, L sequence positions, K media tokens, B tower inputs, T tokens per input, G cells, C channels.
"""

from collections.abc import Sequence

import numpy as np

from model.unified.batch import Array, MediaTokens, TowerCall, UnifiedBatch


def merge_batches(batches: Sequence[UnifiedBatch]) -> UnifiedBatch:
    """Stack batches in order; the result equals preprocessing all their contents together.

    Tower inputs of equal shape are stacked into one call; shorter sequences are padded with token 0 and mask 0.
    """
    rows = np.cumsum([0, *(len(batch) for batch in batches)])
    longest = max(batch.token_ids_NL.shape[1] for batch in batches)
    token_ids_NL = np.zeros((int(rows[-1]), longest), dtype=np.int64)
    mask_NL = np.zeros_like(token_ids_NL)
    for start, batch in zip(rows, batches, strict=False):
        count, length = batch.token_ids_NL.shape
        token_ids_NL[start : start + count, :length] = batch.token_ids_NL
        mask_NL[start : start + count, :length] = batch.mask_NL
    names = dict.fromkeys(name for batch in batches for name in batch.media)
    media = {
        name: _merge_media(
            [(b.media[name], int(row)) for b, row in zip(batches, rows, strict=False) if name in b.media]
        )
        for name in names
    }
    return UnifiedBatch(token_ids_NL, mask_NL, media)


def _merge_media(members: list[tuple[MediaTokens, int]]) -> MediaTokens:
    """Join the tokens of one modality; each member comes with its first row."""
    starts = np.cumsum([0, *(len(tokens.position_K) for tokens, _ in members)])
    groups: dict[tuple[int, ...], list[TowerCall]] = {}
    for start, (tokens, _) in zip(starts, members, strict=False):
        for call in tokens.calls:
            shape = (*call.inputs.shape[1:], call.tokens_BT.shape[1])
            groups.setdefault(shape, []).append(TowerCall(call.inputs, call.tokens_BT + start))
    return MediaTokens(
        features_KGC=_merge_features([tokens for tokens, _ in members]),
        position_K=np.concatenate([tokens.position_K for tokens, _ in members]),
        row_K=np.concatenate([tokens.row_K + row for tokens, row in members]),
        column_K=np.concatenate([tokens.column_K for tokens, _ in members]),
        calls=tuple(
            TowerCall(np.concatenate([c.inputs for c in calls]), np.concatenate([c.tokens_BT for c in calls]))
            for calls in groups.values()
        ),
    )


def _merge_features(members: list[MediaTokens]) -> Array | None:
    known = [tokens.features_KGC for tokens in members if tokens.features_KGC is not None]
    if not known:
        return None
    cells = known[0].shape[1:]
    return np.concatenate(
        [
            np.zeros((len(t.position_K), *cells), np.float32) if t.features_KGC is None else t.features_KGC
            for t in members
        ]
    )

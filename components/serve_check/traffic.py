"""Real contents to send: drawn from the held-out split, by kind."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from data.corpus import Corpus
from data.records import ContentRef, Split
from model.content import Content
from model.encoder import Encoder, takes
from model.errors import DataError

KINDS = ("text", "image", "audio", "video", "interleaved")


@dataclass(frozen=True)
class Traffic:
    """Contents of each kind: for the comparison, for the clean window, and for the window to be shifted."""

    parity: Mapping[str, list[Content]]
    clean: Mapping[str, list[Content]]
    shifted: Mapping[str, list[Content]]


def held_out(
    corpus: Corpus, per_kind: int, *, encoder: Encoder | None = None, split: Split = "test", seed: int = 0
) -> dict[str, list[Content]]:
    """At most ``per_kind`` distinct contents of each kind, a uniform sample that does not depend on row order.

    Queries and positives both count, with an ``encoder`` those that it takes. Contents are made only for the sample,
    so the rest of the media is not copied.

    Raises:
        DataError: the split is empty.
    """
    owner = {ref: record for record in corpus.select(split=split) for ref in (record.query, *record.positives)}
    if not owner:
        raise DataError(f"{corpus.directory} has no record in its {split} split, so there is nothing to send")
    chosen: dict[str, list[Content]] = {}
    usable = [ref for ref in owner if encoder is None or takes(encoder, [part.modality for part in ref])]
    for ref in sorted(usable, key=lambda ref: _key(ref, seed)):
        pool = chosen.setdefault(_kind(ref), [])
        if len(pool) < per_kind:
            pool.append(corpus.content(owner[ref], ref))
    return {kind: chosen[kind] for kind in KINDS if kind in chosen}


def plan_traffic(corpus: Corpus, *, parity: int, window: int, encoder: Encoder | None = None, seed: int = 0) -> Traffic:
    """Cut the held-out sample into disjoint thirds: comparison, clean window, shifted window.

    A kind with too few contents shares them between the two windows, in halves, after the comparison took its part.
    """
    pools = held_out(corpus, parity + 2 * window, encoder=encoder, seed=seed)
    compared = {kind: pool[: min(parity, max(1, len(pool) // 3))] for kind, pool in pools.items()}
    rest = {kind: pool[len(compared[kind]) :] for kind, pool in pools.items()}
    halves = {kind: min(window, len(pool) // 2) for kind, pool in rest.items()}
    return Traffic(
        parity=compared,
        clean={kind: pool[: halves[kind]] for kind, pool in rest.items()},
        shifted={kind: pool[halves[kind] : 2 * halves[kind]] for kind, pool in rest.items()},
    )


def interleave(pools: Mapping[str, Iterable[Content]]) -> list[Content]:
    """One content of each kind in turn, so that a request mixes kinds."""
    waiting = [list(pool) for pool in pools.values()]
    mixed: list[Content] = []
    while any(waiting):
        mixed += [pool.pop(0) for pool in waiting if pool]
    return mixed


def _kind(ref: ContentRef) -> str:
    kinds = {part.modality.value for part in ref}
    return kinds.pop() if len(kinds) == 1 else "interleaved"


def _key(ref: ContentRef, seed: int) -> bytes:
    identity = "|".join(f"{part.modality}:{part.media or part.text}" for part in ref)
    return hashlib.blake2b(f"{seed}|{identity}".encode(), digest_size=16).digest()

"""From what each ask may get to what each record gets: a judge's refusals, and how often one document may be used."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from data.mining.config import Rules
from data.mining.judge import Judge
from data.mining.knowledge import Document, content_key
from data.mining.miner import Found, Miner, below
from data.mining.pool import Pool
from data.records import ContentRef, Record
from model.content import Content

JUDGED_AT_ONCE = 256
# A document may be a negative of so many times the mean, where nothing else is said.
HUB = 10.0

Resolve = Callable[[Record, ContentRef], Content]


@dataclass(frozen=True)
class Negative:
    """A document that a record gets, and its cosine with the query."""

    document: Document
    score: float


def judged(
    miner: Miner, found: Sequence[Found], judge: Judge, resolve: Resolve, *, ratio: float, candidates: int
) -> list[Found]:
    """Drop what the judge holds to be about as good an answer as the positive; only the first ``candidates`` stay.

    Args:
        miner: counts the verdict ``judge``.
        found: of its asks.
        judge: the second opinion.
        resolve: gives contents for what is stored.
        ratio: share of the judge's score of a positive from which on a candidate is refused; of several positives the
            one that the rules compare with.
        candidates: of each ask, to bound the judge's work.
    """
    kept: list[Found] = []
    for start in range(0, len(found), JUDGED_AT_ONCE):
        block = [_first(one, candidates) for one in found[start : start + JUDGED_AT_ONCE]]
        asked = [(one, *_contents(miner, one, resolve)) for one in block]
        answers = [content for _, _, positives, negatives in asked for content in (*positives, *negatives)]
        judge.prepare([query for _, query, _, _ in asked], answers)
        for one, query, positives, negatives in asked:
            scores = [judge(query, positive) for positive in positives]
            bar = {"lowest": min, "highest": max}[miner.rules.against](scores)
            keep = [i for i, c in enumerate(negatives) if judge(query, c) <= below(bar, ratio)]
            miner.verdicts["judge"] += len(negatives) - len(keep)
            miner.verdicts["allowed"] -= len(negatives) - len(keep)
            kept.append(replace(one, places_K=one.places_K[keep], scores_K=one.scores_K[keep]))
    return kept


def _first(found: Found, count: int) -> Found:
    return replace(found, places_K=found.places_K[:count], scores_K=found.scores_K[:count])


def _contents(miner: Miner, found: Found, resolve: Resolve) -> tuple[Content, list[Content], list[Content]]:
    pool = miner.pool
    query = pool.asks[found.ask].query

    def of(place: int) -> Content:
        document = pool.documents[place]
        return resolve(document.records[0], document.ref)

    return (
        resolve(query.record, query.ref),
        [of(i) for i in miner.positives(found.ask)],
        [of(i) for i in found.places_K],
    )


def assign(pool: Pool, found: Sequence[Found], rules: Rules, verdicts: Counter[str]) -> dict[str, list[Negative]]:
    """Deal out negatives: every record gets its best one before any gets a second.

    The order of records within a round is a hash of the seed and the record, so that no source is served first.

    Args:
        pool: of the task.
        found: what each ask may get, in order of picking.
        rules: how many, and how often one document may be used.
        verdicts: ``hub`` counts documents that a record went without for that.

    Returns:
        Negatives by record id; records that get none are there too.
    """
    limit = rules.max_uses or ceil(HUB * pool.records * rules.number / max(1, len(pool.documents)))
    waiting = [(record, one) for one in found for record in pool.asks[one.ask].records]
    waiting.sort(key=lambda item: hashlib.blake2b(f"{rules.seed}|{item[0].id}".encode(), digest_size=16).digest())
    offers: list[Iterator[tuple[int, float]]] = [
        zip(one.places_K.tolist(), one.scores_K.tolist(), strict=True) for _, one in waiting
    ]
    taken: dict[str, list[Negative]] = {record.id: [] for record, _ in waiting}
    uses = np.zeros(len(pool.documents), dtype=np.int64)
    had = [set(map(content_key, record.negatives)) if rules.existing != "replace" else set() for record, _ in waiting]
    for _ in range(rules.number):
        for (record, _), offer, known in zip(waiting, offers, had, strict=True):
            for place, score in offer:
                document = pool.documents[place]
                if document.key in known:
                    verdicts["has_it_already"] += 1
                elif uses[place] >= limit:
                    verdicts["hub"] += 1
                else:
                    uses[place] += 1
                    taken[record.id].append(Negative(document, score))
                    break
    return taken


def uses_of(taken: Mapping[str, Sequence[Negative]]) -> Counter[tuple[str, ...]]:
    """How often each document is a negative."""
    return Counter(negative.document.key for negatives in taken.values() for negative in negatives)

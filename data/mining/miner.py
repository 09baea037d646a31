"""From vectors to the documents that a query may get as negatives, and why it may not get the others.

Shape legend: A asks, P documents, D dimensions, K candidates of an ask, M its positives.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.mining.config import Rules
from data.mining.knowledge import Key, Knowledge, content_key
from data.mining.looks import Looks
from data.mining.pool import Label, Pool
from data.mining.search import Searcher
from model.content import media_digest
from model.progress import progress

BLOCK = 512
# Of what is known to belong to a query so much is expected above the last rank; where it is more, the search is redone.
SLACK, DEEPER = 32, 4
ALLOWED = "allowed"


@dataclass(frozen=True)
class Examined:
    """One candidate in the rank window, or related to the query: its place in the pool, cosine and verdict."""

    place: int
    score: float
    verdict: str


@dataclass(frozen=True)
class Found:
    """What an ask may get, in the order of picking, and the cosines of its positives in the pool."""

    ask: int
    places_K: NDArray[np.int64]
    scores_K: NDArray[np.float32]
    positives_M: NDArray[np.float32]


def below(bar: float, ratio: float, floor: float = 0.0) -> float:
    """The score that is ``ratio`` of the way from ``floor`` to ``bar``; for a bar under the floor as far below it."""
    return bar - (1 - ratio) * abs(bar - floor)


class Miner:
    """Applies the rules to the asks of one pool.

    Args:
        pool: with vectors.
        knowledge: of the whole train split.
        rules: what may be mined.
        exact_below: pools up to this size are searched exactly.
        looks: of the documents, for ``rules.alike``; without them the rule refuses nothing.

    Attributes:
        verdicts: of all candidates that were looked at.
        floor: mean cosine of all queries with all documents.
    """

    def __init__(
        self, pool: Pool, knowledge: Knowledge, rules: Rules, *, exact_below: int, looks: Looks | None = None
    ) -> None:
        self.pool = pool
        self.knowledge = knowledge
        self.rules = rules
        self.looks = looks if rules.alike is not None else None
        self.verdicts: Counter[str] = Counter()
        self.floor = float(pool.ask_AD.mean(axis=0) @ pool.document_PD.mean(axis=0)) if len(pool.ask_AD) else 0.0
        self._place = {document.key: i for i, document in enumerate(pool.documents)}
        self._scopes = {
            label: np.array([i for i, labels in enumerate(pool.labels) if label in labels])
            for label in dict.fromkeys(ask.label for ask in pool.asks)
        }
        self._searchers = {
            label: Searcher(self._vectors(scope), exact_below=exact_below) for label, scope in self._scopes.items()
        }

    @property
    def exact(self) -> bool:
        """Whether no candidate can have been missed."""
        return all(searcher.exact for searcher in self._searchers.values())

    def __call__(self) -> list[Found]:
        """Find for every ask; verdicts are counted in ``verdicts``."""
        rows = self._nearest()
        return [self._found(*row) for row in progress(rows, total=len(self.pool.asks), desc="mine", unit="query")]

    def examine(self, ask: int) -> list[Examined]:
        """Every candidate of one ask down to the last rank, with its verdict; for reports."""
        scope, searcher = self.scope(ask), self._searchers[self.pool.asks[ask].label]
        places, scores = searcher(self.pool.ask_AD[ask][None], self._depth())
        return list(self._examined(ask, scope[places[0]], scores[0]))

    def positives(self, ask: int, *, hidden: Key | None = None) -> NDArray[np.int64]:
        """Places of the positives of an ask's query among the documents of its label."""
        asked = self.pool.asks[ask]
        places = (self._place.get(key) for key in sorted(asked.query.positives) if key != hidden)
        own = [place for place in places if place is not None and asked.label in self.pool.labels[place]]
        return np.array(own, dtype=np.int64)

    def scope(self, ask: int) -> NDArray[np.int64]:
        """Places of all documents of an ask's label."""
        return self._scopes[self.pool.asks[ask].label]

    def unknown(self, ask: int, *, hidden: Key | None = None) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Candidates that nothing is known of, best first, down to the last rank; ``hidden`` is left out."""
        asked = self.pool.asks[ask]
        scope, searcher = self.scope(ask), self._searchers[asked.label]
        count = self._depth()
        while True:
            places, scores = searcher(self.pool.ask_AD[ask][None], count)
            found = scope[places[0]]
            keep = [
                i
                for i, place in enumerate(found)
                if self.pool.documents[place].key != hidden
                and self.knowledge.relation(asked.query, self.pool.documents[place], hidden=hidden) is None
            ]
            if len(keep) >= self.rules.last_rank or count >= len(scope):
                keep = keep[: self.rules.last_rank]
                return found[keep], scores[0][keep]
            count *= DEEPER

    def verdicts_of(
        self,
        scores_K: NDArray[np.float32],
        near_K: NDArray[np.float32],
        positives_M: NDArray[np.float32],
        alike_K: Sequence[bool],
    ) -> list[str]:
        """What the rank window and the rules on likeness say of candidates of which nothing is known, best first.

        Args:
            scores_K: cosines with the query.
            near_K: cosines with the nearest positive.
            positives_M: cosines of the positives with the query.
            alike_K: whether the candidate looks like a positive.
        """
        rules = self.rules
        ends = {"lowest": np.min, "highest": np.max}
        bar = float(ends[rules.against](positives_M)) if len(positives_M) else np.inf
        floor = 0.0 if rules.ratio_from == "zero" else self.floor
        found = []
        rows = zip(scores_K.tolist(), near_K.tolist(), alike_K, strict=True)
        for rank, (score, near, alike) in enumerate(rows, 1):
            if rank < rules.first_rank:
                found.append("above_window")
            elif alike:
                found.append("alike")
            elif rules.near is not None and near > rules.near:
                found.append("near_positive")
            elif rules.ratio is not None and score > below(bar, rules.ratio, floor):
                found.append("ratio")
            elif rules.margin is not None and score > bar - rules.margin:
                found.append("margin")
            else:
                found.append(ALLOWED)
        return found

    def order(self, ask: int, keys: Sequence[Key]) -> list[int]:
        """In which order allowed candidates, given best first, are picked."""
        if self.rules.pick == "hardest":
            return list(range(len(keys)))
        asked = "|".join(self.pool.asks[ask].query.key)
        names = [media_digest(f"{self.rules.seed}|{asked}|{'|'.join(key)}".encode()) for key in keys]
        return sorted(range(len(keys)), key=names.__getitem__)

    def nearness(self, vector_KD: NDArray[np.float32], positives: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cosine [K] of each candidate with the nearest of the given positives."""
        if not len(positives):
            return np.full(len(vector_KD), -1.0, np.float32)
        nearest_K: NDArray[np.float32] = (vector_KD @ self.pool.document_PD[positives].T).max(axis=1)
        return nearest_K

    def look(self, place: int) -> tuple[int, ...]:
        """Perceptual hashes of a document; none where looks don't count."""
        return () if self.looks is None else self.looks.of(self.pool.documents[place])

    def alike(self, looks: Sequence[Sequence[int]], positives: NDArray[np.int64]) -> list[bool]:
        """Whether something that looks so looks like one of the given positives."""
        if self.looks is None:
            return [False] * len(looks)
        others = [self.look(place) for place in positives]
        return [self.looks.alike(one, others) for one in looks]

    def _vectors(self, scope: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors of some documents; no copy where these are all."""
        every = self.pool.document_PD
        return every if len(scope) == len(every) else every[scope]

    def _depth(self) -> int:
        return self.rules.last_rank + SLACK

    def _nearest(self) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]:
        """Candidates of every ask, best first, label by label."""
        by_label: dict[Label, list[int]] = {}
        for number, ask in enumerate(self.pool.asks):
            by_label.setdefault(ask.label, []).append(number)
        for label, members in by_label.items():
            scope, searcher = self._scopes[label], self._searchers[label]
            for start in range(0, len(members), BLOCK):
                block = members[start : start + BLOCK]
                places, scores = searcher(self.pool.ask_AD[block], self._depth())
                yield from zip(block, scope[places], scores, strict=True)

    def _found(self, ask: int, places_K: NDArray[np.int64], scores_K: NDArray[np.float32]) -> Found:
        examined = list(self._examined(ask, places_K, scores_K))
        self.verdicts.update(one.verdict for one in examined)
        allowed = [one for one in examined if one.verdict == ALLOWED]
        picked = [allowed[i] for i in self.order(ask, [self.pool.documents[one.place].key for one in allowed])]
        positives_M = self.pool.document_PD[self.positives(ask)] @ self.pool.ask_AD[ask]
        places, scores = [one.place for one in picked], [one.score for one in picked]
        return Found(ask, np.array(places, np.int64), np.array(scores, np.float32), positives_M)

    def _examined(self, ask: int, places_K: NDArray[np.int64], scores_K: NDArray[np.float32]) -> Iterator[Examined]:
        """Candidates down to the last rank; deeper than ``places_K`` where too many of those are known."""
        asked = self.pool.asks[ask]
        own = {content_key(ref) for record in asked.records for ref in record.positives}
        known: list[Examined] = []
        unknown: list[int] = []
        for i, place in enumerate(places_K.tolist()):
            relation = self.knowledge.relation(asked.query, self.pool.documents[place], own=own)
            if relation is not None:
                known.append(Examined(place, float(scores_K[i]), relation))
            else:
                unknown.append(i)
            if len(unknown) == self.rules.last_rank:
                break
        yield from known
        places, scores = places_K[unknown], scores_K[unknown]
        if len(unknown) < self.rules.last_rank and len(places_K) < len(self._scopes[asked.label]):
            places, scores = self.unknown(ask)
        positives = self.positives(ask)
        positives_M = self.pool.document_PD[positives] @ self.pool.ask_AD[ask]
        near_K = self.nearness(self.pool.document_PD[places], positives)
        alike_K = self.alike([self.look(place) for place in places], positives)
        verdicts = self.verdicts_of(scores, near_K, positives_M, alike_K)
        for place, score, verdict in zip(places.tolist(), scores.tolist(), verdicts, strict=True):
            yield Examined(place, score, verdict)

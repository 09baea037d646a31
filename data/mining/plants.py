"""How often the miner would take a right document for a negative, seen on right documents that it is not told about.

Three kinds are planted. ``hidden``: of a query with several positives one is forgotten, with its group and everything
that the records say about it. ``altered``: a positive is there again in other bytes, under another id and group.
``copy``: it is there again byte for byte. A plant is taken when it would be among the negatives of its query.

Shape legend: P documents, D dimensions, K candidates, M positives.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.mining.alter import altered
from data.mining.config import PlantConfig
from data.mining.knowledge import Document, Key, content_key
from data.mining.looks import of_content
from data.mining.miner import ALLOWED, Miner
from data.records import ContentRef, PartRef, Record
from model.content import Content, Modality, media_digest

Kind = Literal["hidden", "altered", "copy"]
KINDS: tuple[Kind, ...] = ("hidden", "altered", "copy")
LEVEL = 0.95

Resolve = Callable[[Record, ContentRef], Content]
Embed = Callable[[Sequence[Content]], NDArray[np.float32]]


@dataclass(frozen=True)
class Plant:
    """One right document that is planted for the query of an ask.

    Attributes:
        ask: number of the ask in the pool.
        key: identity of what is planted.
        vector_D: its unit vector.
        looks: perceptual hashes of its pictures.
        hidden: key of the positive that is forgotten, for plants of that kind.
    """

    ask: int
    key: Key
    vector_D: NDArray[np.float32]
    looks: tuple[int, ...] = ()
    hidden: Key | None = None


@dataclass
class Outcome:
    """What became of the plants of one kind.

    Attributes:
        planted: how many there were, each of another group.
        taken: by the rules.
        taken_without: if only the record's own positives were left out and the best ranked taken.
        verdicts: what refused the others.
        impossible: contents that cannot be planted so, such as a clip in other bytes.
    """

    planted: int = 0
    taken: int = 0
    taken_without: int = 0
    impossible: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Outcome") -> None:
        """Count those of another task too."""
        self.planted += other.planted
        self.taken += other.taken
        self.taken_without += other.taken_without
        self.impossible += other.impossible
        self.verdicts += other.verdicts

    @property
    def refused(self) -> float:
        """Share of the plants that were refused; not a number without plants."""
        return 1 - self.taken / self.planted if self.planted else float("nan")

    def interval(self, *, without: bool = False) -> tuple[float, float]:
        """Wilson interval of the share refused, by the rules or without them."""
        return wilson(self.planted - (self.taken_without if without else self.taken), self.planted)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's interval of a share at 95 %; all of 0..1 without trials."""
    from scipy.stats import binomtest

    if not trials:
        return 0.0, 1.0
    found = binomtest(successes, trials).proportion_ci(confidence_level=LEVEL, method="wilson")
    return float(found.low), float(found.high)


def estimate(miner: Miner, config: PlantConfig, resolve: Resolve, embed: Embed) -> dict[Kind, Outcome]:
    """Plant, mine and count.

    Args:
        miner: of a task, with what is known and the rules. A judge and the limit on uses are left out: both only
            refuse more.
        config: how many plants.
        resolve: gives contents for what is stored.
        embed: vectors of contents with the prefix of the task's documents.
    """
    outcomes: dict[Kind, Outcome] = {}
    for kind in KINDS:
        outcome = outcomes[kind] = Outcome()
        plants = _altered(miner, config, resolve, embed, outcome) if kind == "altered" else _known(miner, config, kind)
        for plant in plants:
            outcome.planted += 1
            verdict, naive = fate(miner, plant)
            outcome.taken += verdict == ALLOWED
            outcome.taken_without += naive
            if verdict != ALLOWED:
                outcome.verdicts[verdict] += 1
    return outcomes


def fate(miner: Miner, plant: Plant) -> tuple[str, bool]:
    """Verdict on a plant (``allowed`` means taken), and whether it would be taken without the rules."""
    asked = miner.pool.asks[plant.ask]
    score = float(plant.vector_D @ miner.pool.ask_AD[plant.ask])
    naive = _taken_without(miner, plant, score)
    stranger = Document(plant.key, asked.query.ref)
    relation = miner.knowledge.relation(asked.query, stranger, hidden=plant.hidden)
    if relation is not None:
        return relation, naive
    places, scores_K = miner.unknown(plant.ask, hidden=plant.hidden)
    at = int(np.searchsorted(-scores_K, -score))
    if at >= miner.rules.last_rank:
        return "below_window", naive
    positives = miner.positives(plant.ask, hidden=plant.hidden)
    positives_M = miner.pool.document_PD[positives] @ miner.pool.ask_AD[plant.ask]
    vector_KD = np.insert(miner.pool.document_PD[places], at, plant.vector_D, axis=0)
    keys = [miner.pool.documents[place].key for place in places]
    keys.insert(at, plant.key)
    near_K = miner.nearness(vector_KD, positives)
    looks = [miner.look(place) for place in places]
    looks.insert(at, plant.looks)
    alike_K = miner.alike(looks, positives)
    verdicts = miner.verdicts_of(np.insert(scores_K, at, score), near_K, positives_M, alike_K)[: miner.rules.last_rank]
    if verdicts[at] != ALLOWED:
        return verdicts[at], naive
    allowed = [i for i, verdict in enumerate(verdicts) if verdict == ALLOWED]
    picked = [allowed[i] for i in miner.order(plant.ask, [keys[i] for i in allowed])][: miner.rules.number]
    return (ALLOWED if at in picked else "not_picked"), naive


def _taken_without(miner: Miner, plant: Plant, score: float) -> bool:
    asked = miner.pool.asks[plant.ask]
    own = {content_key(ref) for record in asked.records for ref in record.positives} | {plant.hidden}
    scope = miner.scope(plant.ask)
    better = scope[miner.pool.document_PD[scope] @ miner.pool.ask_AD[plant.ask] > score]
    return sum(miner.pool.documents[place].key not in own for place in better) < miner.rules.number


def _known(miner: Miner, config: PlantConfig, kind: Kind) -> list[Plant]:
    """Positives that are in the pool, hidden or there again."""
    plants = []
    for ask in _asks(miner, config, kind, least=2 if kind == "hidden" else 1):
        place = _one_of(miner, ask, config, kind)
        key = miner.pool.documents[place].key
        hidden = key if kind == "hidden" else None
        plants.append(Plant(ask, key, miner.pool.document_PD[place], miner.look(place), hidden))
    return plants


def _altered(miner: Miner, config: PlantConfig, resolve: Resolve, embed: Embed, outcome: Outcome) -> list[Plant]:
    made: list[tuple[int, Content]] = []
    for ask in _asks(miner, config, "altered", least=1):
        document = miner.pool.documents[_one_of(miner, ask, config, "altered")]
        content = altered(resolve(document.records[0], document.ref))
        if content is None:
            outcome.impossible += 1
        else:
            made.append((ask, content))
    if not made:
        return []
    vector_ND = embed([content for _, content in made])
    return [
        Plant(ask, _key(content), vector_D, of_content(content) if miner.looks else ())
        for (ask, content), vector_D in zip(made, vector_ND, strict=True)
    ]


def _asks(miner: Miner, config: PlantConfig, kind: Kind, *, least: int) -> list[int]:
    """Asks in an order that is a hash, each of another group, with at least so many positives in the pool."""
    asks = miner.pool.asks
    order = sorted(
        range(len(asks)),
        key=lambda i: media_digest(f"{config.seed}|{kind}|{'|'.join(asks[i].query.key)}|{asks[i].label}".encode()),
    )
    chosen: list[int] = []
    groups: set[str] = set()
    for ask in order:
        if len(chosen) == config.queries:
            break
        if groups.isdisjoint(asks[ask].query.groups) and len(miner.positives(ask)) >= least:
            groups |= asks[ask].query.groups
            chosen.append(ask)
    return chosen


def _one_of(miner: Miner, ask: int, config: PlantConfig, kind: Kind) -> int:
    places = miner.positives(ask)
    name = media_digest(f"{config.seed}|{kind}|{ask}".encode())
    return int(places[int(name, 16) % len(places)])


def _key(content: Content) -> Key:
    return content_key(
        tuple(
            PartRef(p.modality, text=p.text)
            if p.modality is Modality.TEXT
            else PartRef(p.modality, media=media_digest(p.data or b""))
            for p in content.parts
        )
    )

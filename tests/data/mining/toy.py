"""Small corpora of texts with vectors that are given rather than computed."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from data.mining.config import MineTask, Rules
from data.mining.knowledge import Knowledge
from data.mining.miner import Miner
from data.mining.pool import Pool, embed_pool, pool_of
from data.records import ContentRef, PartRef, Record
from model.content import Modality

TASK = "question_to_answer"


def words(value: str) -> ContentRef:
    return (PartRef(Modality.TEXT, text=value),)


def record(name: str, query: str, positives: Sequence[str], group: str | None = None, **changes: object) -> Record:
    values: dict[str, object] = {
        "id": f"toy/{name}",
        "task": TASK,
        "query": words(query),
        "positives": tuple(map(words, positives)),
        "negatives": (),
        "source": "toy",
        "languages": ("en",),
        "license": "MIT",
        "group": group or name,
        "split": "train",
        **changes,
    }
    return Record(**values)  # type: ignore[arg-type]


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def any_vector(text: str, width: int = 16) -> NDArray[np.float32]:
    """A direction that depends on the text alone."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return unit(np.random.default_rng(seed).standard_normal(width))


class Given:
    """Stands in for an embedder: vectors by text, any direction for others."""

    def __init__(self, vectors: Mapping[str, NDArray[np.float32]] | None = None) -> None:
        self.vectors = dict(vectors or {})

    def __call__(
        self, contents: Sequence[tuple[ContentRef, Record]], *, task: str | None, desc: str
    ) -> NDArray[np.float32]:
        texts = [ref[0].text or "" for ref, _ in contents]
        return np.stack([self.vectors.get(text, any_vector(text)) for text in texts])


def pool(records: Sequence[Record], vectors: Mapping[str, NDArray[np.float32]] | None = None, **task: object) -> Pool:
    """Pool of the toy task with its vectors."""
    wanted = MineTask.parse({"name": TASK, **task})
    return embed_pool(pool_of(wanted, records, Knowledge(records)), Given(vectors))  # type: ignore[arg-type]


def miner(
    records: Sequence[Record],
    vectors: Mapping[str, NDArray[np.float32]] | None = None,
    task: Mapping[str, object] | None = None,
    **rules: object,
) -> Miner:
    wanted = Rules.parse(rules)
    knowledge = Knowledge(records, siblings=wanted.siblings, never_across=wanted.never_across)
    return Miner(pool(records, vectors, **(task or {})), knowledge, wanted, exact_below=10_000)

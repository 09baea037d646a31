"""What one task is mined from: its distinct questions, the documents that compete, and their vectors.

Shape legend: A asks, P documents, D dimensions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.corpus import Corpus
from data.mining.config import MineTask
from data.mining.knowledge import Document, Key, Knowledge, Query, content_key, kind_of
from data.records import ContentRef, Record
from model.content import media_digest
from model.encoder import Encoder
from model.encoding import encode_contents
from model.files import whole_file

CHUNK = 4096
Label = tuple[str, ...]


@dataclass
class Ask:
    """A distinct query among documents of one label: what is searched once, whatever the number of its records."""

    query: Query
    label: Label
    records: list[Record] = field(default_factory=list)


@dataclass(frozen=True)
class Pool:
    """Asks and documents of a task; of a document the label of each record that it is a positive of."""

    task: MineTask
    asks: tuple[Ask, ...]
    documents: tuple[Document, ...]
    labels: tuple[frozenset[Label], ...]
    ask_AD: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    document_PD: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @property
    def records(self) -> int:
        """Records that are mined for."""
        return sum(len(ask.records) for ask in self.asks)

    def with_vectors(self, ask_AD: NDArray[np.float32], document_PD: NDArray[np.float32]) -> "Pool":
        """The same with unit vectors."""
        return replace(self, ask_AD=ask_AD, document_PD=document_PD)


def pool_of(task: MineTask, records: Sequence[Record], knowledge: Knowledge) -> Pool:
    """Asks and documents of a task.

    Args:
        task: which records, and who competes.
        records: of the train split, of all tasks.
        knowledge: of the same records.
    """
    own = [record for record in records if _belongs(record, task)]
    asks: dict[tuple[Key, Label], Ask] = {}
    for record in own:
        query, label = knowledge.queries[content_key(record.query)], _label(record, task)
        asks.setdefault((query.key, label), Ask(query, label)).records.append(record)
    labels: dict[Key, set[Label]] = {}
    for record in own if task.pool == "task" else _of_kinds(records, own):
        for ref in record.positives:
            labels.setdefault(content_key(ref), set()).add(_label(record, task))
    documents = tuple(knowledge.documents[key] for key in labels)
    return Pool(task, tuple(asks.values()), documents, tuple(map(frozenset, labels.values())))


def _belongs(record: Record, task: MineTask) -> bool:
    return (
        record.task == task.name
        and (not task.languages or not set(task.languages).isdisjoint(record.languages))
        and (not task.sources or record.source in task.sources)
    )


def _label(record: Record, task: MineTask) -> Label:
    values = {"source": record.source, "languages": ",".join(record.languages)}
    return tuple(values[name] for name in task.within)


def _of_kinds(records: Iterable[Record], own: Sequence[Record]) -> list[Record]:
    """Records with positives of the kinds that ``own`` have, and none of another kind."""
    kinds = {kind_of(ref) for record in own for ref in record.positives}
    return [record for record in records if {kind_of(ref) for ref in record.positives} <= kinds]


@dataclass(frozen=True)
class Embedder:
    """Embeds contents of a corpus; what is done is kept, so that a killed step goes on where it was.

    Attributes:
        encoder: of the vectors.
        corpus: resolves media.
        kept: directory for finished chunks, of this encoder alone; nothing is kept when empty.
        dimension: Matryoshka prefix; all dimensions when empty.
        max_batch_tokens: padded tokens in one batch.
    """

    encoder: Encoder
    corpus: Corpus
    kept: Path | None = None
    dimension: int | None = None
    max_batch_tokens: int = 512

    def __call__(
        self, contents: Sequence[tuple[ContentRef, Record]], *, task: str | None, desc: str
    ) -> NDArray[np.float32]:
        """Unit vectors of contents, each given with a record that it belongs to."""
        chunks = [contents[i : i + CHUNK] for i in range(0, len(contents), CHUNK)]
        found = [
            self._chunk(chunk, task, desc if len(chunks) == 1 else f"{desc}, {number} of {len(chunks)}")
            for number, chunk in enumerate(chunks, 1)
        ]
        width = self.dimension or self.encoder.dimensions[0]
        return np.concatenate(found) if found else np.zeros((0, width), np.float32)

    def _chunk(self, contents: Sequence[tuple[ContentRef, Record]], task: str | None, desc: str) -> NDArray[np.float32]:
        path = None if self.kept is None else self.kept / f"{self._name(contents, task)}.npy"
        if path is not None and path.is_file():
            known_ND: NDArray[np.float32] = np.load(path, allow_pickle=False)
            return known_ND
        resolved = [replace(self.corpus.content(record, ref), task=task) for ref, record in contents]
        vector_ND = encode_contents(
            self.encoder, resolved, dimension=self.dimension, max_batch_tokens=self.max_batch_tokens, desc=desc
        )
        if path is not None:
            with whole_file(path) as partial, partial.open("wb") as file:
                np.save(file, vector_ND)
        return vector_ND

    def _name(self, contents: Sequence[tuple[ContentRef, Record]], task: str | None) -> str:
        names = "\n".join(repr(ref) for ref, _ in contents)
        return media_digest(f"{task}|{self.dimension}|{self.max_batch_tokens}|{names}".encode())


def embed_pool(pool: Pool, embed: Embedder) -> Pool:
    """The pool with vectors of all its queries and documents."""
    queries = {ask.query.key: ask.query for ask in pool.asks}
    place = {key: i for i, key in enumerate(queries)}
    name = pool.task.name
    query_QD = embed(
        [(query.ref, query.record) for query in queries.values()], task=pool.task.query_task, desc=f"{name}: queries"
    )
    document_PD = embed(
        [(document.ref, document.records[0]) for document in pool.documents],
        task=pool.task.document_task,
        desc=f"{name}: documents",
    )
    rows = [place[ask.query.key] for ask in pool.asks]
    return pool.with_vectors(query_QD[rows], document_PD)

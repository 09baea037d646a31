"""What a benchmark is: a declaration that turns the test records of a corpus into queries, a pool and right answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from data.records import ContentRef, Record
from model.content import Content

Label = Callable[[Record], str]
Kind = Literal["retrieval", "bitext"]


@dataclass(frozen=True)
class Benchmark:
    """One task, declared.

    Attributes:
        name: key in metrics, such as ``text_to_image``.
        title: what a reader of the report sees.
        category: mteb's modality code, such as ``t2i``.
        record_task: the ``task`` of the records it is made from.
        sources: the corpus sources it uses.
        subset: label of the slice that a record's query is scored in; an empty label leaves the query out
            (its documents still compete).
        pool: documents whose records share this label compete with each other.
        reverse: search the queries with the documents.
        same: documents whose records share this label with the query's record are right as well. In any case every
            document that some record pairs with an identical query is right.
        same_answer_in: another record task; two records are the same when that task answers their queries alike
            (a spoken caption finds any picture with this caption).
        choices: only documents whose records share this label with the query's record compete.
        kind: the mteb task class.
    """

    name: str
    title: str
    category: str
    record_task: str
    sources: tuple[str, ...]
    subset: Label
    pool: Label
    reverse: bool = False
    same: Label | None = None
    same_answer_in: str | None = None
    choices: Label | None = None
    kind: Kind = "retrieval"

    def sides(self, record: Record) -> tuple[tuple[ContentRef, ...], tuple[ContentRef, ...]]:
        """Queries and documents of a record in the direction of this task."""
        forward = ((record.query,), record.positives)
        return (forward[1], forward[0]) if self.reverse else forward


@dataclass(frozen=True)
class RetrievalSet:
    """Queries, documents and right answers of one subset.

    Attributes:
        groups: leakage group per query, the cluster of the bootstrap.
        right: per query the indices of its right documents.
        candidates: per query the only documents that compete, or ``None`` for the whole pool.
    """

    benchmark: Benchmark
    subset: str
    languages: tuple[str, ...]
    query_ids: tuple[str, ...]
    queries: tuple[Content, ...]
    groups: tuple[str, ...]
    document_ids: tuple[str, ...]
    documents: tuple[Content, ...]
    right: tuple[tuple[int, ...], ...]
    candidates: tuple[tuple[int, ...], ...] | None = None

    @property
    def key(self) -> str:
        """``task/subset``, the prefix of its metrics."""
        return f"{self.benchmark.name}/{self.subset}"

    def pool_sizes(self) -> list[int]:
        """Number of competing documents per query."""
        if self.candidates is None:
            return [len(self.documents)] * len(self.queries)
        return [len(c) for c in self.candidates]


def language(record: Record) -> str:
    """Language of the query."""
    return record.languages[0] if record.languages else "und"


def source_and_language(record: Record) -> str:
    """``source/language``."""
    return f"{record.source}/{language(record)}"


def source(record: Record) -> str:
    """The corpus source."""
    return record.source

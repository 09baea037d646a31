"""From test records to retrieval sets: who asks, who competes, who is right; sampled by hash, never by luck."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from data.benchmarks.base import Benchmark, RetrievalSet
from data.corpus import Corpus
from data.records import ContentRef, Record
from model.config import Config


class SamplingConfig(Config):
    """How many queries and documents a subset may have; the choice is a hash of seed and content.

    Attributes:
        english_queries: cap for subsets whose queries are English or have no language.
        other_queries: cap for every other subset, and for bitext.
        documents: cap on a pool; right documents are always kept.
        seed: another seed gives another sample.
    """

    english_queries: int = 400
    other_queries: int = 150
    documents: int = 500
    seed: int = 0


@dataclass
class _Pool:
    """Documents that compete, with what is needed to judge them."""

    documents: dict[ContentRef, Record] = field(default_factory=dict)
    paired: dict[ContentRef, set[ContentRef]] = field(default_factory=lambda: defaultdict(set))
    same: dict[str, set[ContentRef]] = field(default_factory=lambda: defaultdict(set))
    choices: dict[str, set[ContentRef]] = field(default_factory=lambda: defaultdict(set))


def build_sets(corpus: Corpus, tasks: Iterable[Benchmark], sampling: SamplingConfig) -> list[RetrievalSet]:
    """Every subset of every task that the test split of ``corpus`` has records for."""
    test = corpus.select(split="test")
    return [found for task in tasks for found in _subsets(corpus, test, task, sampling)]


def _subsets(corpus: Corpus, test: Sequence[Record], task: Benchmark, sampling: SamplingConfig) -> list[RetrievalSet]:
    records = [r for r in test if r.task == task.record_task and r.source in task.sources]
    answers = _answers(test, task.same_answer_in)
    pools: dict[str, _Pool] = defaultdict(_Pool)
    queries: dict[str, dict[ContentRef, Record]] = defaultdict(dict)
    for record in records:
        _add(pools[task.pool(record)], task, record, answers)
        if subset := task.subset(record):
            for query in task.sides(record)[0]:
                queries[subset].setdefault(query, record)
    return [_sample(corpus, task, name, queries[name], pools, answers, sampling) for name in sorted(queries)]


def _answers(test: Sequence[Record], task: str | None) -> dict[ContentRef, str]:
    """Per query its answers in another task, with the language: equal answers make two queries the same."""
    if task is None:
        return {}
    return {r.query: f"{r.languages[0]}:{sorted(map(_identity, r.positives))}" for r in test if r.task == task}


def _label(task: Benchmark, record: Record, answers: dict[ContentRef, str]) -> str:
    if task.same is not None:
        return task.same(record)
    return answers.get(record.query, "")


def _add(pool: _Pool, task: Benchmark, record: Record, answers: dict[ContentRef, str]) -> None:
    queries, documents = task.sides(record)
    label = _label(task, record, answers)
    for document in documents:
        pool.documents.setdefault(document, record)
        for query in queries:
            pool.paired[query].add(document)
        if label:
            pool.same[label].add(document)
        if task.choices is not None:
            pool.choices[task.choices(record)].add(document)


def _sample(
    corpus: Corpus,
    task: Benchmark,
    subset: str,
    queries: dict[ContentRef, Record],
    pools: dict[str, _Pool],
    answers: dict[ContentRef, str],
    sampling: SamplingConfig,
) -> RetrievalSet:
    first = next(iter(queries.values()))
    pool = pools[task.pool(first)]
    many = task.kind != "bitext" and first.languages[:1] in ((), ("en",), ("und",))
    cap = sampling.english_queries if many else sampling.other_queries
    chosen = _by_hash(queries, sampling.seed)[:cap]
    right = {q: pool.paired[q] | pool.same.get(_label(task, queries[q], answers), set()) for q in chosen}
    if task.kind == "bitext":
        chosen = _one_to_one(chosen, right)
        right = {q: right[q] for q in chosen}
    allowed = {q: pool.choices[task.choices(queries[q])] for q in chosen} if task.choices else None
    needed = set().union(*(allowed or right).values())
    documents = [d for d in pool.documents if d in needed] if task.kind == "bitext" else _keep(pool, needed, sampling)
    place = {document: i for i, document in enumerate(documents)}
    return RetrievalSet(
        benchmark=task,
        subset=subset,
        languages=first.languages if task.kind == "bitext" else first.languages[:1],
        query_ids=_unique("q", [queries[q].id for q in chosen]),
        queries=tuple(corpus.content(queries[q], q) for q in chosen),
        groups=tuple(queries[q].group for q in chosen),
        document_ids=_unique("d", [pool.documents[d].id for d in documents]),
        documents=tuple(corpus.content(pool.documents[d], d) for d in documents),
        right=tuple(tuple(sorted(place[d] for d in right[q])) for q in chosen),
        candidates=tuple(tuple(sorted(place[d] for d in allowed[q])) for q in chosen) if allowed else None,
    )


def _unique(side: str, ids: Sequence[str]) -> tuple[str, ...]:
    """Ids that stay the same when the sample changes: the record's, numbered only where a record gave several."""
    uses: Counter[str] = Counter()
    found = []
    for name in ids:
        uses[name] += 1
        found.append(f"{side}:{name}" if uses[name] == 1 else f"{side}:{name}#{uses[name]}")
    return tuple(found)


def _one_to_one(chosen: Sequence[ContentRef], right: dict[ContentRef, set[ContentRef]]) -> list[ContentRef]:
    """Bitext mining knows one translation per sentence: leave out sentences with several, and shared translations."""
    uses = Counter(document for query in chosen for document in right[query])
    return [q for q in chosen if len(right[q]) == 1 and uses[next(iter(right[q]))] == 1]


def _keep(pool: _Pool, needed: set[ContentRef], sampling: SamplingConfig) -> list[ContentRef]:
    if len(pool.documents) <= sampling.documents:
        return list(pool.documents)
    rest = [d for d in _by_hash(pool.documents, sampling.seed) if d not in needed]
    kept = needed | set(rest[: max(sampling.documents - len(needed), 0)])
    return [d for d in pool.documents if d in kept]


def _by_hash(contents: Iterable[ContentRef], seed: int) -> list[ContentRef]:
    return sorted(
        contents, key=lambda c: hashlib.blake2b(f"{seed}|{_identity(c)}".encode(), digest_size=16).hexdigest()
    )


def _identity(content: ContentRef) -> str:
    return "|".join(f"{p.modality}:{p.text}:{p.media}" for p in content)

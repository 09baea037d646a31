"""Our retrieval sets as mteb tasks, so that mteb itself computes and records their scores.

Media columns hold encoded bytes: mteb's dataloader passes them through undecoded, and the model sees exactly what a
request would carry. Import this module late, it pulls in mteb and ``datasets``.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from datasets import Dataset, Features, Value
from mteb.abstasks import AbsTaskBitextMining, AbsTaskRetrieval
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.task_metadata import TaskMetadata

from data.benchmarks.base import Benchmark, RetrievalSet
from data.benchmarks.languages import mteb_code
from model.content import Content, Modality
from model.errors import DataError

K_VALUES = (1, 3, 5, 10, 100)
SPLIT = "test"


def mteb_task(sets: Sequence[RetrievalSet], revision: str) -> AbsTask:
    """One mteb task whose subsets are ``sets`` (all of one benchmark); ``revision`` is the digest of the data."""
    benchmark = sets[0].benchmark
    if benchmark.kind == "bitext":
        return _instance(AbsTaskBitextMining, benchmark, sets, revision, {s.subset: {SPLIT: _bitext(s)} for s in sets})
    return _instance(AbsTaskRetrieval, benchmark, sets, revision, {s.subset: {SPLIT: _retrieval(s)} for s in sets})


def _instance(
    base: type[AbsTask], benchmark: Benchmark, sets: Sequence[RetrievalSet], revision: str, dataset: dict[str, Any]
) -> AbsTask:
    def load_data(self: AbsTask, **_: Any) -> None:
        self.dataset, self.data_loaded = dataset, True

    members = {"metadata": _metadata(benchmark, sets, revision), "load_data": load_data, "k_values": K_VALUES}
    return type(f"Omnivec{benchmark.name.title().replace('_', '')}", (base,), members)()


def _metadata(benchmark: Benchmark, sets: Sequence[RetrievalSet], revision: str) -> TaskMetadata:
    modalities = sorted({m.value for s in sets for c in (*s.queries[:1], *s.documents[:1]) for m in c.modalities})
    text_only = modalities == ["text"]
    kinds = {"bitext": "BitextMining", "retrieval": "Retrieval" if text_only else "Any2AnyRetrieval"}
    return TaskMetadata(
        name=f"Omnivec/{benchmark.name}",
        description=f"{benchmark.title}, made from the test split of an Omnivec corpus.",
        type=kinds[benchmark.kind],
        category=benchmark.category,
        modalities=modalities,
        dataset={"path": "omnivec/corpus", "revision": revision},
        eval_splits=[SPLIT],
        eval_langs={s.subset: [mteb_code(tag) for tag in s.languages] for s in sets},
        main_score="accuracy" if benchmark.kind == "bitext" else "ndcg_at_10",
    )


def _retrieval(found: RetrievalSet) -> dict[str, Any]:
    ids, documents = found.query_ids, found.document_ids
    ranked = None
    if found.candidates is not None:
        ranked = {q: [documents[i] for i in own] for q, own in zip(ids, found.candidates, strict=True)}
    return {
        "queries": _table(ids, found.queries),
        "corpus": _table(documents, found.documents),
        "relevant_docs": {q: {documents[i]: 1 for i in own} for q, own in zip(ids, found.right, strict=True)},
        "top_ranked": ranked,
    }


def _bitext(found: RetrievalSet) -> Dataset:
    first = [c.parts[0].text for c in found.queries]
    second = [found.documents[own[0]].parts[0].text for own in found.right]
    return Dataset.from_dict({"sentence1": first, "sentence2": second})


def _table(ids: Iterable[str], contents: Sequence[Content]) -> Dataset:
    """One column per modality, and the order of the parts of each content, which columns alone would lose."""
    modalities = sorted(p.modality for p in contents[0].parts)
    orders = [",".join(p.modality.value for p in content.parts) for content in contents]
    columns: dict[str, list[Any]] = {"id": list(ids), "order": orders}
    for modality in modalities:
        columns[modality.value] = [_payload(content, modality, modalities) for content in contents]
    kinds = {m.value: Value("string" if m is Modality.TEXT else "binary") for m in modalities}
    return Dataset.from_dict(columns, features=Features({"id": Value("string"), "order": Value("string"), **kinds}))


def _payload(content: Content, modality: Modality, expected: list[Modality]) -> str | bytes | None:
    if sorted(p.modality for p in content.parts) != expected or len(set(expected)) != len(expected):
        given = [p.modality.value for p in content.parts]
        raise DataError(
            f"mteb holds one column per modality: contents of a task must have the same modalities, each once; "
            f"got {given} beside {[m.value for m in expected]}"
        )
    part = next(p for p in content.parts if p.modality is modality)
    return part.text if modality is Modality.TEXT else part.data

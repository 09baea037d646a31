"""Running one encoder over retrieval sets: vectors once, ranks, the Matryoshka ladder, health, and mteb's own run.

Shape legend: N contents, D dimensions, Q queries, P documents.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluate.config import EvaluateConfig
from components.evaluate.scores import hit_rate
from data.benchmarks.base import RetrievalSet
from model.content import Content
from model.encoder import Encoder, takes
from model.evaluation.health import health, mean_similarity
from model.evaluation.metrics import Ranks, ndcg_at, rank_queries
from model.evaluation.mteb_encoder import MtebEncoder
from model.matryoshka import truncate
from model.quantize import RANGED, OutputDtype, Quantizer, calibrate, comparable

HEALTH_SAMPLE = 600
STORED: tuple[OutputDtype, ...] = ("float", "int8", "binary")


@dataclass(frozen=True)
class Measured:
    """One encoder's results on the sets it can run, in their order."""

    model: MtebEncoder
    sets: tuple[RetrievalSet, ...]
    ranks: tuple[list[Ranks], ...]

    def by_key(self) -> dict[str, list[Ranks]]:
        """Ranks by ``task/subset``."""
        return {found.key: ranks for found, ranks in zip(self.sets, self.ranks, strict=True)}


def open_encoder(directory: Path, features: Path | None) -> Encoder:
    """Load an artifact, onto the accelerator where there is one; let it read its frozen towers' features, if given."""
    from model.artifact import load_encoder
    from model.features import FeatureStore
    from model.transfer import to_accelerator

    encoder = to_accelerator(load_encoder(directory))
    if features is not None and hasattr(encoder, "use_features"):
        encoder.use_features(FeatureStore.open(features))
    return encoder


def supported(sets: Sequence[RetrievalSet], encoder: Encoder) -> list[RetrievalSet]:
    """Sets whose modalities the encoder has."""

    def fits(content: Content) -> bool:
        return takes(encoder, [part.modality for part in content.parts])

    return [s for s in sets if all(fits(c) for c in (*s.queries[:1], *s.documents[:1]))]


def measure(
    encoder: Encoder, sets: Sequence[RetrievalSet], config: EvaluateConfig, *, label: str, revision: str
) -> Measured:
    """Embed every distinct content once and rank every query."""
    model = MtebEncoder(
        encoder,
        name=f"omnivec/{label}",
        revision=revision,
        query_task=config.query_task,
        document_task=config.document_task,
        max_batch_tokens=config.max_batch_tokens,
    )
    own = supported(sets, encoder)
    model.vectors([c for s in own for side in sides(model, s) for c in side], desc=f"embed test contents ({label})")
    ranks = tuple(rank_queries(*vectors(model, s), s.right, s.candidates) for s in own)
    return Measured(model, tuple(own), ranks)


def sides(model: MtebEncoder, found: RetrievalSet) -> tuple[list[Content], list[Content]]:
    """Queries and documents as the model sees them: bitext has no roles, so no prefixes."""
    if found.benchmark.kind == "bitext":
        return list(found.queries), list(found.documents)
    queries = [model.prompted(c, "query") for c in found.queries]
    return queries, [model.prompted(c, "document") for c in found.documents]


def vectors(model: MtebEncoder, found: RetrievalSet) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Query and document vectors, [Q, D] and [P, D]."""
    queries, documents = sides(model, found)
    return model.vectors(queries), model.vectors(documents)


def ladder(measured: Measured) -> dict[str, dict[str, float]]:
    """nDCG@10 by task (mean over subsets) and Matryoshka dimension."""
    by_task: dict[str, dict[str, list[float]]] = {}
    for found in measured.sets:
        queries_QD, documents_PD = vectors(measured.model, found)
        for dimension in measured.model.encoder.dimensions:
            ranks = rank_queries(
                truncate(queries_QD, dimension), truncate(documents_PD, dimension), found.right, found.candidates
            )
            value = float(np.mean([ndcg_at(own, 10) for own in ranks]))
            by_task.setdefault(found.benchmark.name, {}).setdefault(str(dimension), []).append(value)
    return {task: {d: float(np.mean(v)) for d, v in rungs.items()} for task, rungs in by_task.items()}


def stored(measured: Measured, quantizer: Quantizer) -> dict[str, dict[str, float]]:
    """nDCG@10 by task (mean over subsets) when queries and documents are both stored as codes, by output dtype.

    Without ranges ``int8`` is left out.
    """
    by_task: dict[str, dict[str, list[float]]] = {}
    dimension = measured.model.encoder.dimensions[0]
    for found in measured.sets:
        both = vectors(measured.model, found)
        for dtype in (d for d in STORED if d not in RANGED or dimension in quantizer.ranges):
            queries_QD, documents_PD = (comparable(quantizer(side, dtype), dtype, dimension) for side in both)
            ranks = rank_queries(queries_QD, documents_PD, found.right, found.candidates)
            value = float(np.mean([ndcg_at(own, 10) for own in ranks]))
            by_task.setdefault(found.benchmark.name, {}).setdefault(dtype, []).append(value)
    return {task: {d: float(np.mean(v)) for d, v in rungs.items()} for task, rungs in by_task.items()}


def calibrated(measured: Measured, contents: Sequence[Content]) -> Quantizer:
    """Ranges of a sample of contents that are not those measured on; modalities that the model lacks are left out."""
    encoder = measured.model.encoder
    own = [c for c in contents if takes(encoder, [part.modality for part in c.parts])]
    return calibrate(measured.model.vectors(own, desc="calibrate ranges"), encoder.dimensions)


def space(measured: Measured) -> dict[str, Any]:
    """Health of the vectors by kind of content, and mean cosine between kinds."""
    by_kind: dict[str, dict[str, Content]] = {}
    for found in measured.sets:
        for side in sides(measured.model, found):
            for content in side:
                by_kind.setdefault(content.kind, {})[content.digest] = content
    samples = {
        kind: measured.model.vectors([own[d] for d in sorted(own)[:HEALTH_SAMPLE]])
        for kind, own in sorted(by_kind.items())
    }
    names, similarity = mean_similarity(samples)
    every = np.concatenate(list(samples.values()))
    facts = {kind: {"n": len(found), **health(found)} for kind, found in samples.items()}
    return {
        "health": facts | {"all": {"n": len(every), **health(every)}},
        "similarity": {"kinds": names, "mean_cosine": similarity.tolist()},
    }


def run_mteb(measured: Measured, revision: str, folder: Path) -> float:
    """Let mteb score the same sets and write its result files.

    Returns:
        The largest difference between mteb's scores and ours: it should be rounding, and is reported.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read by the hub client when mteb is imported
    import mteb
    from datasets.utils import disable_progress_bars

    from data.benchmarks.mteb_tasks import mteb_task

    disable_progress_bars()  # one bar per table of a few rows helps nobody
    names = list(dict.fromkeys(s.benchmark.name for s in measured.sets))
    tasks = [mteb_task([s for s in measured.sets if s.benchmark.name == name], revision) for name in names]
    result = mteb.evaluate(
        measured.model, tasks, cache=None, raise_error=True, co2_tracker=False, show_progress_bar=False
    )
    folder.mkdir(parents=True, exist_ok=True)
    ours, largest = measured.by_key(), 0.0
    for name, found in zip(names, result.task_results, strict=True):
        found.to_disk(folder / f"{name}.json")
        for row in found.scores["test"]:
            ranks = ours[f"{name}/{row['hf_subset']}"]
            if "accuracy" in row and "ndcg_at_10" not in row:
                pairs = [(row["accuracy"], hit_rate(ranks, 1))]
            else:
                mean_ndcg = float(np.mean([ndcg_at(own, 10) for own in ranks]))
                pairs = [(row["hit_rate_at_10"], hit_rate(ranks, 10)), (row["ndcg_at_10"], mean_ndcg)]
            largest = max(largest, *(abs(theirs - own) for theirs, own in pairs))
    return largest

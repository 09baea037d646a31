"""Our corpora as mteb tasks: mteb's own scores equal ours, bytes arrive untouched, nothing is embedded twice."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data.benchmarks import TASKS
from data.benchmarks.build import SamplingConfig, build_sets
from data.corpus import Corpus
from model.content import Content, Modality
from model.encoder import Limits
from model.errors import ContentError
from model.evaluation.metrics import hit_at, ndcg_at, rank_queries
from model.evaluation.mteb_encoder import MtebEncoder, contents_of_batch

pytestmark = pytest.mark.slow


class HashEncoder:
    """A vector is a seeded random direction of the content's digest: deterministic, meaningless, free of ties."""

    modalities = frozenset(Modality)
    limits = Limits()
    dimensions = (16, 8)

    def __init__(self) -> None:
        self.seen: list[Content] = []

    def count_tokens(self, content: Content) -> dict[Modality, int]:
        return {Modality.TEXT: 1}

    def preprocess(self, contents: Sequence[Content]) -> list[Content]:
        self.seen.extend(contents)
        return list(contents)

    def __call__(self, batch: list[Content]) -> NDArray[np.float32]:
        rows = np.stack([np.random.default_rng(int(c.digest, 16)).standard_normal(16) for c in batch])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def scores_of(result: Any) -> dict[str, dict[str, float]]:
    return {
        f"{task.task_name.removeprefix('Omnivec/')}/{row['hf_subset']}": row
        for task in result.task_results
        for row in task.scores["test"]
    }


def test_mteb_computes_what_we_compute_for_every_task(benchmark_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import mteb

    from data.benchmarks.mteb_tasks import mteb_task

    encoder = HashEncoder()
    model = MtebEncoder(encoder)  # type: ignore[arg-type]
    sets = build_sets(Corpus(benchmark_corpus), TASKS.values(), SamplingConfig())
    tasks = [mteb_task([s for s in sets if s.benchmark.name == name], "0" * 16) for name in TASKS]
    for found in sets:
        model.vectors([*found.queries, *found.documents])
    before = len(encoder.seen)
    result = mteb.evaluate(model, tasks, cache=None, raise_error=True, co2_tracker=False, show_progress_bar=False)
    assert len(encoder.seen) == before, "mteb handed over contents that differ from the corpus"
    theirs = scores_of(result)
    assert set(theirs) == {s.key for s in sets}
    for found in sets:
        ranks = rank_queries(
            model.vectors(found.queries), model.vectors(found.documents), found.right, found.candidates
        )
        row = theirs[found.key]
        if found.benchmark.kind == "bitext":
            assert row["accuracy"] == pytest.approx(np.mean([hit_at(r, 1) for r in ranks]), abs=2e-5)
            continue
        assert row["hit_rate_at_1"] == pytest.approx(np.mean([hit_at(r, 1) for r in ranks]), abs=2e-5)
        assert row["ndcg_at_10"] == pytest.approx(np.mean([ndcg_at(r, 10) for r in ranks]), abs=2e-5)


def test_batches_become_contents_with_parts_in_order(png_bytes: bytes) -> None:
    (plain,) = contents_of_batch({"text": ["left"], "image": [png_bytes]})
    (ordered,) = contents_of_batch({"text": ["left"], "image": [png_bytes], "order": ["text,image"]})
    assert [p.modality.value for p in plain.parts] == ["image", "text"]
    assert [p.modality.value for p in ordered.parts] == ["text", "image"]


def test_pictures_from_official_tasks_are_kept_losslessly(png_bytes: bytes) -> None:
    from io import BytesIO

    from PIL import Image

    picture = Image.open(BytesIO(png_bytes))
    (content,) = contents_of_batch({"image": [picture]})
    again = Image.open(BytesIO(content.parts[0].data or b""))
    assert np.array_equal(np.asarray(picture), np.asarray(again))


def test_unknown_cells_are_refused() -> None:
    with pytest.raises(ContentError, match="give encoded bytes"):
        contents_of_batch({"video": [object()]})
    with pytest.raises(ContentError, match="no text, image, audio or video column"):
        contents_of_batch({"id": ["1"]})


def test_prompts_reach_queries_and_documents_by_role() -> None:
    encoder = HashEncoder()
    model = MtebEncoder(encoder, query_task="query")  # type: ignore[arg-type]
    model.encode([{"text": ["a"]}], prompt_type="query")
    model.encode([{"text": ["a"]}], prompt_type="document")
    assert [c.task for c in encoder.seen] == ["query", None]

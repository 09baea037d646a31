"""The evaluate step on a tiny random encoder: everything it promises is written, and the numbers agree."""

import json
from pathlib import Path

import pytest

from components.environment import Environment
from components.evaluate.config import EvaluateConfig
from components.evaluate.run import EvaluateResult, run
from components.evaluate.scores import Outcome, headlines, read_outcomes
from components.tracking import client_for, step_run
from model.errors import ConfigError, DataError

CONFIG = EvaluateConfig(draws=100, least_queries=3, examples=1)


@pytest.fixture(scope="module")
def evaluated(
    benchmark_corpus: Path, tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EvaluateResult, Path]:
    folder = tmp_path_factory.mktemp("evaluated")
    inputs = {"dataset": benchmark_corpus, "model": tiny_artifact, "baseline": tiny_artifact, "features": None}
    return run(CONFIG, **inputs, results=folder / "results", report=folder / "report.html"), folder


@pytest.mark.slow
def test_everything_promised_is_written_and_agrees(evaluated: tuple[EvaluateResult, Path]) -> None:
    result, folder = evaluated
    metrics = json.loads((folder / "results" / "metrics.json").read_text())
    rows = read_outcomes(folder / "results" / "per_query.parquet")
    assert len(rows) == result.queries == metrics["queries"]
    assert {p.stem for p in (folder / "results" / "mteb" / "candidate").glob("*.json")} == {row.task for row in rows}
    assert metrics["mteb"]["largest_difference"] < 2e-5, "mteb and we must score alike"
    assert metrics["left_out"] == []
    for name, entry in metrics["headline"].items():
        assert entry["low"] <= entry["value"] <= entry["high"], name
        assert 0 < entry["chance"] <= 1
        assert entry["baseline"] == pytest.approx(entry["value"]), "the same artifact is its own starting point"
    assert set(metrics["space"]["health"]) == {"text", "image", "audio", "video", "interleaved", "all"}
    assert metrics["space"]["health"]["all"]["norm_error"] < 1e-5
    full = {task: rungs[str(metrics["model"]["dimensions"][0])] for task, rungs in metrics["matryoshka"].items()}
    assert {task: kept["float"] for task, kept in metrics["stored"].items()} == pytest.approx(full)
    assert all(set(kept) == {"float", "binary"} for kept in metrics["stored"].values()), "no validation split, no int8"
    expected = [row.ndcg_at_10 for row in rows if row.task == "docstring_to_code"]
    assert full["docstring_to_code"] == pytest.approx(sum(expected) / len(expected))


@pytest.mark.slow
def test_report_is_one_file_with_plots_first_and_media_inside(evaluated: tuple[EvaluateResult, Path]) -> None:
    page = (evaluated[1] / "report.html").read_text()
    assert page.index("<svg") < page.index("<table")
    for media in ("data:image/png;base64", "data:audio/ogg;base64", "data:video/mp4;base64"):
        assert media in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ), "nothing is loaded from elsewhere"
    assert "src=http" not in page


@pytest.mark.slow
def test_headline_numbers_reach_the_parent_run(evaluated: tuple[EvaluateResult, Path], tmp_path: Path) -> None:
    environment = Environment.local(tmp_path)
    result, folder = evaluated
    with step_run("evaluate", environment, CONFIG) as tracked:
        result.track(tracked, results=folder / "results", report=folder / "report.html")
    client = client_for(environment)
    step = client.get_run(tracked.id)
    parent = client.get_run(tracked.parent or "")
    assert parent.data.metrics == pytest.approx(result.headline)
    assert "text_to_image/emoji-noto/en/hit_at_10" in step.data.metrics
    assert {a.path for a in client.list_artifacts(tracked.id)} == {"config.json", "evaluation", "report.html"}
    assert step.inputs.dataset_inputs[0].dataset.digest == result.data.digest


def test_headline_is_the_mean_over_subsets_not_over_queries() -> None:
    rows = [Outcome("text_to_image", "emoji-fluent/en", "q", "g", 1, 1.0, 100, 1)]
    rows += [Outcome("text_to_image", "emoji-noto/en", f"q{i}", f"g{i}", 50, 0.0, 100, 1) for i in range(9)]
    found = headlines(rows, EvaluateConfig(draws=100))["text_to_image_hit_at_10"]
    assert found["value"] == pytest.approx(0.5)
    assert found["chance"] == pytest.approx(0.1)
    assert found["baseline"] is None


def test_nothing_to_evaluate_and_unknown_tasks_are_errors(benchmark_corpus: Path, tmp_path: Path) -> None:
    paths = {"dataset": benchmark_corpus, "model": tmp_path, "baseline": tmp_path, "features": None}
    with pytest.raises(DataError, match="no subset with 500 test queries"):
        run(EvaluateConfig(least_queries=500), **paths, results=tmp_path / "r", report=tmp_path / "r.html")
    with pytest.raises(ConfigError, match="unknown tasks"):
        EvaluateConfig.parse({"tasks": ["mscoco"]})

"""The gate: equal passes, clearly worse is refused with the reason, floors, first version, stale data."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.environment import Environment
from components.evaluate.config import EvaluateConfig
from components.evaluate.scores import Outcome, headlines, read_outcomes, write_outcomes
from components.gate.config import GateConfig
from components.gate.run import GateResult, run
from components.registry import CHALLENGER, CHAMPION, PREVIOUS, Candidate, Registry
from components.tracking import step_run
from model.errors import ArtifactError, ConfigError
from model.integrity import write_digests

SUBSETS = {"text_to_image": ("emoji-fluent/en", "emoji-noto/en", "emoji-twemoji/en"), "bitext": ("en-de",)}
SPACE = {"health": {"all": {"effective_rank": 20.0, "norm_error": 1e-7}}}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment.local(tmp_path_factory.mktemp("home"))


def outcomes(chance_of_hit: float, seed: int = 0, queries: int = 150) -> list[Outcome]:
    """Queries whose best right document is among the first ten with the given probability; the start has 5 %."""
    rng = np.random.default_rng(seed)
    rows = []
    for task, subsets in SUBSETS.items():
        for subset in subsets:
            for i in range(queries):
                rank = 1 if rng.random() < chance_of_hit else 50
                start = rank if task == "bitext" else (1 if rng.random() < 0.05 else 60)
                rows.append(
                    Outcome(task, subset, f"q:{i}", f"g{i}", rank, float(rank == 1), 100, 1, start, float(start == 1))
                )
    return rows


def results_of(folder: Path, rows: list[Outcome], **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_outcomes(rows, folder / "per_query.parquet")
    metrics = {"headline": headlines(rows, EvaluateConfig(draws=200)), "space": SPACE, **changes}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


class World:
    """A registry and the gate in front of it."""

    def __init__(self, environment: Environment, folder: Path, name: str) -> None:
        self.environment, self.folder, self.registry = environment, folder, Registry(environment, name)
        self.served = folder / "served.json"
        self.served.write_text(json.dumps({"ok": True}))

    def add(self, rows: list[Outcome], **changes: object) -> tuple[str, Path]:
        folder = self.folder / f"v{len(list(self.folder.iterdir()))}"
        results = results_of(folder / "results", rows, **changes)
        (folder / "artifact").mkdir()
        (folder / "artifact" / "w.safetensors").write_text(folder.name)
        write_digests(folder / "artifact")
        with step_run("register", self.environment) as tracked:
            found = Candidate(folder / "artifact", results, "d", (8,), ("text",), {}, {})
            version, _ = self.registry.register(found, tracked)
        self.registry.set_alias(CHALLENGER, version)
        return version, results

    def judge(self, version: str, results: Path, **config: object) -> GateResult:
        settings = GateConfig.parse({"name": self.registry.name, "draws": 400, **config})
        report = self.folder / "report.html"
        paths = {"results": results, "served": self.served, "report": report}
        return run(settings, version=version, environment=self.environment, **paths)


@pytest.fixture
def world(environment: Environment, tmp_path: Path, request: pytest.FixtureRequest) -> World:
    return World(environment, tmp_path, request.node.name)


def test_first_version_passes_when_it_learned_something(world: World) -> None:
    decision = world.judge(*world.add(outcomes(0.6)))
    assert decision.promoted, decision.reasons
    assert world.registry.aliases() == {CHAMPION: "1"}
    assert world.registry.resolve("1").tags["validation_status"] == "passed"
    document = json.loads((world.folder / "report.json").read_text())
    assert {v["rule"] for v in document["verdicts"]} == {"above chance", "against untrained", "space", "serving"}
    assert "promoted to champion" in (world.folder / "report.html").read_text()


def test_first_version_that_learned_nothing_is_refused(world: World) -> None:
    decision = world.judge(*world.add(outcomes(0.05)))
    assert not decision.promoted
    assert any("against untrained: text_to_image_hit_at_10" in reason for reason in decision.reasons)
    assert world.registry.aliases() == {CHALLENGER: "1"}


def test_equal_candidate_passes_and_clearly_worse_is_refused_with_the_reason(world: World) -> None:
    rows = outcomes(0.6)
    assert world.judge(*world.add(rows)).promoted
    assert world.judge(*world.add(rows)).promoted
    assert world.registry.aliases() == {CHAMPION: "2", PREVIOUS: "1"}
    decision = world.judge(*world.add(outcomes(0.4, seed=1)))
    assert not decision.promoted
    assert any(r.startswith("champion: text_to_image_hit_at_10: -0.") for r in decision.reasons)
    assert world.registry.aliases() == {CHAMPION: "2", PREVIOUS: "1", CHALLENGER: "3"}
    tags = world.registry.resolve("3").tags
    assert tags["validation_status"] == "failed"
    assert "against version 2, may lose at most 0.050" in tags["gate_reason"]
    assert "refused" in (world.folder / "report.html").read_text()
    assert world.registry.rollback() == ("2", "1")


def test_a_single_family_that_got_worse_is_enough(world: World) -> None:
    rows = outcomes(0.6)
    assert world.judge(*world.add(rows)).promoted
    worse = [replace(row, rank=50, baseline_rank=50) if row.task == "bitext" else row for row in rows]
    decision = world.judge(*world.add(worse))
    assert [r.split(":")[1].strip() for r in decision.reasons] == ["bitext_hit_at_1"]


def test_floors_serving_and_a_collapsed_space_each_refuse(world: World) -> None:
    version, results = world.add(outcomes(0.6))
    assert not world.judge(version, results, floors={"text_to_image_hit_at_10": 0.99}).promoted
    missing = world.judge(version, results, floors={"speech_to_text_hit_at_10/*": 0.1})
    assert "was not measured" in missing.reasons[0]
    world.served.write_text(json.dumps({"ok": False, "problems": ["image cosine 0.91"]}))
    assert world.judge(version, results).reasons == ["serving: serve_check: image cosine 0.91"]
    world.served.write_text(json.dumps({"ok": True}))
    flat = {"health": {"all": {"effective_rank": 1.1, "norm_error": 1e-7}}}
    assert "effective rank" in world.judge(*world.add(outcomes(0.6), space=flat)).reasons[0]
    assert CHAMPION not in world.registry.aliases()


def test_losing_to_the_untrained_trunk_by_more_than_the_margin_refuses(world: World) -> None:
    rows = [
        replace(r, rank=50) if r.task == "bitext" and r.rank == 1 and int(r.query_id[2:]) % 8 == 0 else r
        for r in outcomes(0.6)
    ]
    decision = world.judge(*world.add(rows))
    assert any(r.startswith("against untrained: bitext_hit_at_1") for r in decision.reasons)
    assert world.judge(*world.add(rows), baseline_margins={"bitext_hit_at_1": 0.2}).promoted


def test_champion_of_other_data_is_said_to_be_incomparable(world: World) -> None:
    assert world.judge(*world.add(outcomes(0.9))).promoted
    other = [replace(row, query_id=f"new{row.query_id}") for row in outcomes(0.6)]
    version, results = world.add(other)
    refused = world.judge(version, results, incomparable="refuse")
    assert "evaluated on other data" in refused.reasons[0]
    assert world.judge(version, results).promoted


def test_missing_results_and_unknown_metrics_are_errors(world: World, tmp_path: Path) -> None:
    version, _ = world.add(outcomes(0.6))
    with pytest.raises(ArtifactError, match="run the step that writes it again"):
        world.judge(version, tmp_path / "absent")
    with pytest.raises(ConfigError, match="unknown headline metrics"):
        GateConfig.parse({"floors": {"recall": 0.5}})


def test_per_query_table_survives_the_round_trip(tmp_path: Path) -> None:
    rows = outcomes(0.5, queries=3)
    write_outcomes(rows, tmp_path / "t.parquet")
    assert read_outcomes(tmp_path / "t.parquet") == rows

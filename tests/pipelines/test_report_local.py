"""The report as the exit task of a run on this machine: it comes after success and failure, and changes neither."""

import json
from pathlib import Path

import pytest
from kfp import dsl

from components.environment import Environment
from components.report.component import report
from components.step import read_records
from pipelines.local import RunError, execute
from pipelines.plan import Graph
from tests.pipelines.test_local import gate, toy_make


def build(gate_config: str) -> Graph:
    graph = Graph(lambda kind: f"omnivec-python:{kind}")
    planned = json.dumps({"name": "toy", "steps": ["toy_make", "gate"]})

    @dsl.pipeline(name="toy")
    def pipeline(corpus_digest: str = "") -> None:
        with dsl.ExitHandler(graph.add(report, config=planned), name="steps"):
            task = graph.add(toy_make, config="abc", corpus_digest=corpus_digest)
            graph.add(gate, config=gate_config, dataset=task.outputs["dataset"])

    graph.pipeline = pipeline
    return graph


def test_a_failed_run_is_reported(tmp_path: Path) -> None:
    graph = build("fail")
    assert [step.name for step in graph.steps] == ["toy_make", "gate"], "the report is no step of the plan"
    environment = Environment(home=tmp_path, tracking_uri="sqlite://", run_id="bad")
    with pytest.raises(RunError, match="gate"):
        execute(graph, {}, environment)
    assert read_records(environment)["report"].status == "ok"
    summary = json.loads((tmp_path / "runs" / "bad" / "summary.json").read_text())
    assert (summary["status"], [row["status"] for row in summary["steps"]]) == ("failed", ["ok", "failed"])
    assert summary["failure"]["step"] == "gate"
    assert "the corpus is empty" in summary["failure"]["error"]

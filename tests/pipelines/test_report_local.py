"""The report as the exit task of a run on this machine: it comes after success and failure, and changes neither."""

import json
from pathlib import Path

import pytest
from kfp import dsl

from components.environment import Environment
from components.report.component import report
from components.step import read_records
from components.tracking import client_for
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


@pytest.mark.slow
def test_a_run_is_reported_after_success_and_after_failure(tmp_path: Path) -> None:
    tracking = f"sqlite:///{tmp_path}/mlflow.db"
    for run_id, gate_config in (("good", "{}"), ("bad", "fail")):
        graph = build(gate_config)
        assert [step.name for step in graph.steps] == ["toy_make", "gate"], "the report is no step of the plan"
        environment = Environment(home=tmp_path, tracking_uri=tracking, run_id=run_id)
        if gate_config == "fail":
            with pytest.raises(RunError, match="gate"):
                execute(graph, {}, environment)
        else:
            execute(graph, {}, environment)
        records = read_records(environment)
        assert records["report"].status == "ok"
        summary = json.loads((tmp_path / "runs" / run_id / "summary.json").read_text())
        expected = {"good": ("ok", ["ok", "ok"]), "bad": ("failed", ["cached", "failed"])}[run_id]
        assert (summary["status"], [row["status"] for row in summary["steps"]]) == expected
    assert summary["failure"]["step"] == "gate"
    assert "the corpus is empty" in summary["failure"]["error"]
    runs = client_for(environment).search_runs(["1"], "tags.`omnivec.run_id` = 'bad'")
    assert [run.info.status for run in runs] == ["FAILED"]
    assert runs[0].data.tags["omnivec.failed_step"] == "gate"

"""The local runner on a two-step pipeline: records, cache, failures, interruption."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from kfp import dsl

from components.environment import Environment
from components.report.outcome import collect, save
from components.step import read_records
from pipelines.local import BusyError, RunError, _only_run, execute
from pipelines.plan import Graph
from tests.processes import gone


@dsl.component(base_image="omnivec", install_kfp_package=False)
def toy_make(config: str, corpus_digest: str, dataset: dsl.Output[dsl.Dataset]) -> None:
    from pathlib import Path

    from components.step import step

    with step("toy_make", dataset.path) as record:
        Path(dataset.path).mkdir(parents=True)
        (Path(dataset.path) / "rows.txt").write_text(config)
        record.add(rows=len(config))


@dsl.component(base_image="omnivec", install_kfp_package=False)
def gate(config: str, dataset: dsl.Input[dsl.Dataset]) -> bool:
    from pathlib import Path

    from components.step import step
    from model.errors import DataError

    with step("gate"):
        text = (Path(dataset.path) / "rows.txt").read_text()
        print(f"gate read {text}")
        if config == "fail":
            raise DataError("the corpus is empty; give another one")
        return True


def toy(gate_config: str = "{}", made: str = "abc") -> Graph:
    graph = Graph(lambda kind: f"omnivec-python:{kind}")

    @dsl.pipeline(name="toy")
    def pipeline(corpus_digest: str = "") -> None:
        task = graph.add(toy_make, config=made, corpus_digest=corpus_digest)
        graph.add(gate, config=gate_config, dataset=task.outputs["dataset"])

    graph.pipeline = pipeline
    return graph


def run(home: Path, run_id: str, graph: Graph, digest: str = "d1") -> Environment:
    environment = Environment(home=home, tracking_uri=f"sqlite:///{home}/mlflow.db", run_id=run_id)
    execute(graph, {"corpus_digest": digest}, environment)
    return environment


def statuses(environment: Environment) -> dict[str, str]:
    return {name: record.status for name, record in read_records(environment).items()}


def test_second_run_takes_what_did_not_change_from_the_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(tmp_path, "one", toy())
    said = capsys.readouterr()
    assert statuses(first) == {"toy_make": "ok", "gate": "ok"}
    assert "gate read abc" in said.err
    assert "executor_input" not in said.err + said.out
    assert "Executing task" not in said.err + said.out
    second = run(tmp_path, "two", toy())
    assert statuses(second) == {"toy_make": "cached", "gate": "ok"}
    record = read_records(second)["toy_make"]
    assert record.facts["rows"] == 3
    assert record.facts["seconds_when_made"] == read_records(first)["toy_make"].seconds
    assert "= toy_make (cached)" in capsys.readouterr().err


@pytest.mark.parametrize(("digest", "made"), [("d2", "abc"), ("d1", "abcd")])
def test_other_content_or_configuration_is_computed_again(tmp_path: Path, digest: str, made: str) -> None:
    run(tmp_path, "one", toy())
    second = run(tmp_path, "two", toy(made=made), digest)
    assert statuses(second)["toy_make"] == "ok"


def test_deleted_output_is_made_again(tmp_path: Path) -> None:
    run(tmp_path, "one", toy())
    (made,) = tmp_path.glob("pipeline/*/toy-make/dataset")
    (made / "rows.txt").unlink()
    made.rmdir()
    assert statuses(run(tmp_path, "two", toy()))["toy_make"] == "ok"


def test_failed_step_is_named_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = toy("fail")
    environment = Environment(home=tmp_path, tracking_uri="sqlite://", run_id="one")
    with pytest.raises(RunError):
        execute(graph, {}, environment)
    assert "Traceback" not in capsys.readouterr().err
    outcome = collect(environment, [step.name for step in graph.steps], status="failed", seconds=1.0)
    assert outcome.failure is not None
    assert outcome.failure["step"] == "gate"
    assert "the corpus is empty; give another one" in outcome.failure["error"]
    assert [row["status"] for row in outcome.steps] == ["ok", "failed"]
    written = json.loads(save(outcome, tmp_path).read_text())
    assert written["status"] == "failed"
    assert (tmp_path / "runs" / "latest" / "summary.json").is_file()


def test_environment_of_the_caller_is_put_back(tmp_path: Path) -> None:
    before = dict(os.environ)
    run(tmp_path, "one", toy())
    assert dict(os.environ) == before


def test_two_runs_do_not_share_a_home(tmp_path: Path) -> None:
    with _only_run(tmp_path), pytest.raises(BusyError, match="OMNIVEC_HOME"), _only_run(tmp_path):
        pass
    with _only_run(tmp_path):
        pass


def test_a_step_ends_when_its_runner_is_killed(tmp_path: Path) -> None:
    """Otherwise a killed and restarted run would train twice into the same checkpoints."""
    child = (
        "import time\nfrom components.step import step\nwith step('x'):\n  print('up', flush=True)\n  time.sleep(60)\n"
    )
    parent = textwrap.dedent(
        """
        import os, subprocess, sys
        os.environ["OMNIVEC_RUNNER_PID"] = str(os.getpid())
        child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
        child.stdout.readline()
        print(child.pid, flush=True)
        child.wait()
        """
    )
    environment = {**os.environ, "OMNIVEC_HOME": str(tmp_path)}
    command = [sys.executable, "-c", parent, child]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as runner:
        assert runner.stdout is not None
        pid = int(runner.stdout.readline())
        runner.send_signal(signal.SIGKILL)
        ended = gone(pid)
        if not ended:
            os.kill(pid, signal.SIGKILL)
    assert ended

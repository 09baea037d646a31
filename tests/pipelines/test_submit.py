"""Runs on a cluster by the real ``kfp.Client``, against a server on this machine that checks every field."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipelines import runs
from pipelines.access import Access, ClusterError, connect, find_host
from pipelines.cli import app
from tests.pipelines.fake_kfp import FakeKfp, RefusedError, check

QUICK = ["--poll-seconds", "0.05"]


pytestmark = pytest.mark.usefixtures("at_home")


def omnivec(*arguments: str, env: dict[str, str] | None = None) -> Any:
    return CliRunner().invoke(app, arguments, env=env)


def submitted(fake: FakeKfp, corpus: Path, *more: str, env: dict[str, str] | None = None) -> Any:
    settings = ["--recipe", "debug", "--set", f"corpus={corpus}"]
    return omnivec("submit", "--host", fake.address, "--namespace", "team", *settings, *more, env=env)


def test_a_submission_sends_the_pipeline_and_its_parameters(
    fake: FakeKfp, corpus: Path, compiled: dict[bool, str]
) -> None:
    done = submitted(fake, corpus)
    assert done.exit_code == 0, done.output
    ((run_id, body),) = fake.runs.items()
    assert done.stdout.strip() == f"{fake.address}/#/runs/details/{run_id}"
    spec, platform = yaml.safe_load_all(compiled[False])
    assert body["pipeline_spec"]["pipeline_spec"] == spec
    assert body["pipeline_spec"]["platform_spec"] == platform
    parameters = body["runtime_config"]["parameters"]
    assert parameters["corpus"] == str(corpus)
    assert len(parameters["corpus_digest"]) == 32
    assert fake.experiments["e1"] == {"experiment_id": "e1", "display_name": "omnivec", "namespace": "team"}
    assert "warning: image omnivec-pipeline:0.1.0 is not named by digest" in done.stderr


def test_an_installation_with_one_user_is_not_given_a_namespace(corpus: Path) -> None:
    with FakeKfp(multi_user=False) as fake:
        assert submitted(fake, corpus).exit_code == 0
        assert not fake.experiments["e1"].get("namespace")
        assert omnivec("runs", "--host", fake.address, "-n", "team", "--experiment", "all").exit_code == 0


def test_the_same_name_again_finds_the_run_unless_it_failed(fake: FakeKfp, corpus: Path) -> None:
    for _ in range(2):
        done = submitted(fake, corpus, "--run-name", "nightly")
        assert done.exit_code == 0
    assert len(fake.runs) == 1
    assert "not started again" in done.stderr
    next(iter(fake.runs.values()))["state"] = "FAILED"
    assert submitted(fake, corpus, "--run-name", "nightly").exit_code == 0
    assert len(fake.runs) == 2


def test_waiting_tells_each_change_once_and_survives_an_outage(fake: FakeKfp, corpus: Path) -> None:
    group = {"exit-handler-1": "RUNNING", "root-driver": "SUCCEEDED"}
    fake.script = [
        {**group, "validate": "RUNNING"},
        {**group, "validate": "RUNNING"},
        {**group, "validate": "SUCCEEDED", "train-2": "RUNNING"},
        {**group, "validate": "SUCCEEDED", "train-2": "SUCCEEDED", "": "SUCCEEDED"},
    ]
    original = fake.answer

    def answer(method: str, path: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        if fake.looks == 2 and method == "GET" and not fake.requests.count("outage"):
            fake.requests.append("outage")
            raise RefusedError(503, "upstream connect error")
        return original(method, path, query, body)

    fake.answer = answer  # type: ignore[method-assign]
    done = submitted(fake, corpus, "--wait", *QUICK)
    assert done.exit_code == 0, done.output
    assert fake.requests.count("outage") == 1
    changes = [line for line in done.stderr.splitlines() if not line.startswith("warning")]
    assert changes == [
        "validate: RUNNING", "validate: SUCCEEDED", "train-finetune: RUNNING", "train-finetune: SUCCEEDED"
    ]  # fmt: skip
    assert done.stdout.splitlines()[-1].endswith(": SUCCEEDED")


def test_a_failed_run_names_the_step_and_how_to_read_on(fake: FakeKfp, corpus: Path) -> None:
    fake.script = [{"validate": "SUCCEEDED", "audit": "FAILED", "report": "SUCCEEDED", "": "FAILED"}]
    done = submitted(fake, corpus, "--wait", *QUICK)
    assert done.exit_code == 1
    assert "failed in audit: boom" in done.stderr
    assert "omnivec logs 00000000-run-1 audit" in done.stderr


def test_a_run_that_takes_too_long_goes_on(fake: FakeKfp, corpus: Path) -> None:
    fake.script = [{"validate": "RUNNING"}]
    done = submitted(fake, corpus, "--wait", *QUICK, "--timeout-minutes", "0.001")
    assert done.exit_code == 4
    assert "it goes on" in done.stderr


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"refuse": 403}, "you may not do this in namespace 'team'"),
        ({"broken": 100}, "the server failed"),
        ({"login": True}, "shows a web page where the API"),
        ({"old": True}, "version 2.0 or later is needed"),
        ({"token": "other"}, "the token is too old"),
        ({"namespaces": ("elsewhere",)}, "another one: --namespace or cluster.namespace"),
    ],
)
def test_refusals_say_what_to_do(fake: FakeKfp, corpus: Path, broken: dict[str, Any], message: str) -> None:
    for name, value in broken.items():
        setattr(fake, name, value)
    done = submitted(fake, corpus)
    assert done.exit_code == 3
    assert message in done.stderr
    assert not fake.runs


def test_nothing_listens(corpus: Path) -> None:
    with FakeKfp() as fake:
        pass
    done = submitted(fake, corpus)
    assert done.exit_code == 3
    assert f"no Kubeflow Pipelines answers at {fake.address}" in done.stderr


def test_tokens_come_from_the_environment_or_a_file_that_is_renewed(
    fake: FakeKfp, corpus: Path, tmp_path: Path
) -> None:
    fake.token = "one"
    assert submitted(fake, corpus, env={"OMNIVEC_KFP_TOKEN": "one"}).exit_code == 0
    path = tmp_path / "token"
    path.write_text("one\n")
    access = Access(fake.address, "team", token_file=path)
    connection = connect(access)
    assert len(runs.listed(connection, access)) == 1
    fake.token = "two"
    with pytest.raises(ClusterError, match="401"):
        runs.listed(connection, access)
    path.write_text("two\n")
    assert len(runs.listed(connection, access)) == 1


def test_inside_a_cluster_no_host_is_needed(tmp_path: Path) -> None:
    assert find_host(None, in_pod=True, token_file=tmp_path)[0].startswith("http://ml-pipeline.kubeflow")
    with pytest.raises(Exception, match="KF_PIPELINES_ENDPOINT"):
        find_host(None, in_pod=False)


def test_runs_are_listed_for_people_and_programs(fake: FakeKfp, corpus: Path) -> None:
    host = ["--host", fake.address, "-n", "team"]
    assert json.loads(omnivec("runs", *host, "--json").stdout) == []
    for name in ("first", "second", "third"):
        submitted(fake, corpus, "--run-name", name)
    rows = json.loads(omnivec("runs", *host, "--json", "--limit", "2").stdout)
    assert [row["name"] for row in rows] == ["third", "second"]
    lines = omnivec("runs", *host).stdout.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        ["third", "PENDING"], ["second", "PENDING"], ["first", "PENDING"]
    ]  # fmt: skip
    assert len(runs.listed(connect(access := Access(fake.address, "team")), access, limit=500)) == 3


def test_cancel_waits_for_the_end_and_knows_what_has_ended(fake: FakeKfp, corpus: Path) -> None:
    host = ["--host", fake.address, "-n", "team"]
    submitted(fake, corpus, "--run-name", "long")
    fake.script = [{"validate": "RUNNING"}]
    done = omnivec("cancel", "long", *host)
    assert (done.exit_code, done.stdout.strip()) == (0, "long (00000000-run-1): is now CANCELED")
    assert omnivec("cancel", "latest", *host).stdout.strip().endswith("was already CANCELED")
    missing = omnivec("cancel", "nosuch", *host)
    assert "there is no run 'nosuch'" in str(missing.exception)


def test_the_fake_can_refuse() -> None:
    """Else that it accepts would say nothing."""
    for body in ({"experiment": "e1"}, {"display_name": 5}, {"runtime_config": {"params": {}}}, {"state": "DONE"}):
        with pytest.raises(RefusedError):
            check(body, "V2beta1Run")


def test_where_nothing_is_yet_that_is_said(fake: FakeKfp) -> None:
    listed = omnivec("runs", "--host", fake.address, "-n", "team")
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert "no runs in namespace 'team' of the experiment 'omnivec'" in listed.stderr
    assert (
        "no schedules in namespace 'team'" in omnivec("schedule", "list", "--host", fake.address, "-n", "team").stderr
    )
    assert omnivec("runs", "--json", "--host", fake.address, "-n", "team").stdout.strip() == "[]"
    none = omnivec("cancel", "latest", "--host", fake.address, "-n", "team")
    assert "there is no run yet in namespace 'team'" in str(none.exception)

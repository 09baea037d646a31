"""A stage on nodes of a cluster: through the kubeflow SDK and HTTP, to processes that really train."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest
import yaml
from kubeflow_trainer_api import models

from components.train import nodes, trainjob
from components.train.config import TrainConfig
from components.train.launch import launch
from components.train.worker import FAILED
from model.errors import ConfigError
from model.training.guard import TrainingError
from model.training.history import History
from tests.components.train.cluster import ROOT, Cluster, client
from tests.components.train.together import agree, alone, config, same_weights, weights

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """The volume that step and nodes share."""
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


def connect(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainjob, "client_of", lambda _: client(cluster))
    monkeypatch.setattr(trainjob, "LOOK_EVERY_SECONDS", 0.1)


def wanted(
    volume: Path, *, retries: int = 0, minutes: float = 5.0, count: int = 2, strategy: str = "ddp", **changes: object
) -> TrainConfig:
    job = {"mount": str(volume), "gpus": 0, "retries": retries, "timeout_minutes": minutes, "cpu": "1", "memory": "2Gi"}
    stage = config(1, **changes).stage.model_dump(mode="json")
    where = {"backend": "trainjob", "nodes": count, "strategy": strategy, "trainjob": job}
    return TrainConfig.parse({"stage": stage, "launch": where})


def paths(dataset: Path, model: Path, volume: Path, where: Path) -> dict[str, Path | None]:
    """As a step of Kubeflow has them: its artifacts are on a disk of its own, only checkpoints are shared."""
    places = {"dataset": dataset, "model": model, "features": None, "output": where / "out", "report": where / "p.html"}
    return {**places, "checkpoints": volume / "checkpoints" / "0123456789abcdef"}


@pytest.mark.minutes
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_nodes_train_as_one_process(mixed, still, volume, tmp_path, monkeypatch, strategy) -> None:
    alone(config(1), mixed, still, tmp_path / "one")
    seen: list[int] = []
    with Cluster(tmp_path) as cluster:
        connect(cluster, monkeypatch)
        sinks = [lambda _, step: seen.append(step)]
        there = paths(mixed, still, volume, tmp_path)
        assert launch(wanted(volume, strategy=strategy), sinks=sinks, **there)["steps"] == 2
    assert (seen, len(cluster.received)) == ([1, 2], 1)
    (tmp_path / "two").mkdir()
    (volume / "checkpoints/0123456789abcdef").rename(tmp_path / "two/checkpoints")
    (tmp_path / "out").rename(tmp_path / "two/model")
    agree(tmp_path / "one", tmp_path / "two", still)
    assert json.loads((tmp_path / "two/checkpoints/step-00000002.json").read_text())["processes"] == 2
    assert (tmp_path / "p.html").stat().st_size > 1000
    assert not (volume / "jobs/0123456789abcdef").exists()


@pytest.mark.minutes
def test_two_nodes_of_which_one_dies_end_with_the_weights_of_one_process(
    mixed, still, volume, tmp_path, monkeypatch, capfd
) -> None:
    settings = {"steps": 20}
    alone(config(1, **settings), mixed, still, tmp_path / "one")
    seen: list[int] = []
    killed: list[int] = []
    with Cluster(tmp_path) as cluster:
        connect(cluster, monkeypatch)

        def sink(scalars: dict[str, float], step: int) -> None:
            if step >= 3 and len(cluster.received) == 1 and not killed:
                killed.append(step)
                [agent] = [n for n in psutil.Process().children() if n.pid == cluster.nodes[name][1].pid]
                for worker in agent.children():
                    worker.kill()
                cluster.broken = 3  # and the API does not answer for a while
            seen.append(step)

        name = "omnivec-align-0123456789abcdef"
        result = launch(wanted(volume, retries=1, **settings), sinks=[sink], **paths(mixed, still, volume, tmp_path))
    assert 0 < result["resumed_from"] < 20, "the second attempt goes on from the newest checkpoint"
    assert (result["steps"], len(cluster.received), cluster.deleted) == (20, 2, [name, name])
    assert set(seen) == set(range(1, 21))
    one, two = (History(w).rows() for w in (tmp_path / "one/checkpoints", volume / "checkpoints/0123456789abcdef"))
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-3)
    same_weights(weights(tmp_path / "one/model"), weights(tmp_path / "out"), weights(still), rough=1.0)
    assert "going on from the newest checkpoint" in capfd.readouterr().err


def test_what_is_asked_of_the_cluster(mixed, still, volume, tmp_path, monkeypatch, capfd) -> None:
    with Cluster(tmp_path, command=["sh", "-c", "echo first; echo second; exit 3"]) as cluster:
        connect(cluster, monkeypatch)
        asked = wanted(volume, retries=1)
        with pytest.raises(
            TrainingError, match=r"attempt 2 of 2: the nodes failed; the last lines(.|\n)*first\nsecond"
        ):
            launch(asked, **paths(mixed, still, volume, tmp_path))
    assert capfd.readouterr().err.count("first\nsecond\n") >= 2, "lines are passed on as they come"
    assert len(cluster.received) == 2
    assert cluster.jobs == {}
    document = cluster.received[0]
    spec = document["spec"]
    assert document["metadata"]["name"] == "omnivec-align-0123456789abcdef"
    assert spec["runtimeRef"] == {"name": "omnivec-torch", "kind": "ClusterTrainingRuntime"}
    job = str(volume / "jobs/0123456789abcdef")
    assert spec["trainer"]["command"] == ["torchrun", "--nproc-per-node=1", "-m", "components.train.worker", job]
    assert (spec["trainer"]["numNodes"], spec["trainer"]["image"]) == (2, "omnivec-train:0.1.0")
    assert spec["trainer"]["resourcesPerNode"]["limits"] == {"cpu": "1", "memory": "2Gi"}
    assert spec["activeDeadlineSeconds"] == 300
    [patch] = spec["runtimePatches"]
    [replicated] = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
    assert pod["volumes"][0] == {"name": "home", "persistentVolumeClaim": {"claimName": "omnivec-state"}}
    assert pod["volumes"][1]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    assert pod["containers"][0]["volumeMounts"][0] == {"name": "home", "mountPath": str(volume)}


def test_each_process_gets_a_gpu() -> None:
    launched = TrainConfig.parse(
        {"stage": config(1).stage.model_dump(), "launch": {"backend": "trainjob", "processes": 8, "strategy": "fsdp"}}
    ).launch
    container, command = trainjob.trainer_of(launched, "image", trainjob.Job(Path("/j")))
    assert container.resources_per_node["nvidia.com/gpu"] == 8
    assert "--nproc-per-node=8" in command


def test_what_would_fail_again_is_not_tried_again(mixed, still, volume, tmp_path, monkeypatch) -> None:
    said = json.dumps({"kind": "ConfigError", "message": "no such part", "final": True})
    failed = volume / "jobs/0123456789abcdef" / FAILED.format(rank=1)
    with Cluster(tmp_path, command=["sh", "-c", f"echo '{said}' > {failed}; exit 1"]) as cluster:
        connect(cluster, monkeypatch)
        with pytest.raises(TrainingError, match=r"attempt 1 of 4: process 1: no such part \(ConfigError\)"):
            launch(wanted(volume, retries=3), **paths(mixed, still, volume, tmp_path))
    assert len(cluster.received) == 1


def test_a_job_that_takes_too_long_is_deleted(mixed, still, volume, tmp_path, monkeypatch) -> None:
    with Cluster(tmp_path, command=["sleep", "100"]) as cluster:
        connect(cluster, monkeypatch)
        asked = wanted(volume, minutes=0.02)
        with pytest.raises(
            TrainingError, match=r"timeout_minutes=0.02 \(job Running; node-0 Running, node-1 Running\)"
        ):
            launch(asked, **paths(mixed, still, volume, tmp_path))
    assert cluster.deleted == ["omnivec-align-0123456789abcdef"]


def test_sigterm_deletes_the_job(mixed, still, volume, tmp_path, monkeypatch) -> None:
    with Cluster(tmp_path, command=["sleep", "100"]) as cluster:
        connect(cluster, monkeypatch)

        def stop() -> None:
            while not cluster.received:
                threading.Event().wait(0.05)
            threading.Event().wait(0.5)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=stop, daemon=True).start()
        with pytest.raises(SystemExit) as stopped:
            launch(wanted(volume), **paths(mixed, still, volume, tmp_path))
    assert stopped.value.code == 128 + signal.SIGTERM
    assert cluster.deleted == ["omnivec-align-0123456789abcdef"]


def test_a_job_that_goes_on_is_not_started_again(mixed, still, volume, tmp_path, monkeypatch) -> None:
    """The step was killed and started again; its nodes did not notice."""
    left = "import time, pathlib; time.sleep(1); pathlib.Path(r'{}').write_text('{{\"steps\": 7}}')"
    result = volume / "jobs/0123456789abcdef/result.json"
    with Cluster(tmp_path, command=[sys.executable, "-c", left.format(result)]) as cluster:
        connect(cluster, monkeypatch)
        asked, there = wanted(volume, count=1), paths(mixed, still, volume, tmp_path)
        job = trainjob.Job(result.parent)
        places = trainjob.staged(job, asked.launch.trainjob, there)
        for name in ("output", "report"):
            there[name] = places[name] = volume / name
        job.write(asked, places)
        first = nodes.Nodes(client(cluster), "omnivec-align-0123456789abcdef")
        first.start(
            trainjob.trainer_of(asked.launch, "i", job), trainjob.options_of(asked.launch.trainjob), "omnivec-torch"
        )
        assert launch(asked, **there) == {"steps": 7}
    assert len(cluster.received) == 1


def test_a_missing_role_is_named(mixed, still, volume, tmp_path, monkeypatch) -> None:
    with Cluster(tmp_path, forbidden=True) as cluster:
        connect(cluster, monkeypatch)
        with pytest.raises(TrainingError, match=r"403 Forbidden.*allowed to create trainjobs"):
            launch(wanted(volume), **paths(mixed, still, volume, tmp_path))


def test_checkpoints_that_nodes_cannot_see_are_refused(mixed, still, volume, tmp_path) -> None:
    there = {**paths(mixed, still, volume, tmp_path), "checkpoints": tmp_path / "elsewhere"}
    with pytest.raises(ConfigError, match=r"outside .*volume.*set cluster.home_claim"):
        launch(wanted(volume), **there)


def test_nodes_need_a_cluster() -> None:
    with pytest.raises(ConfigError, match="nodes=2 needs backend: trainjob"):
        TrainConfig.parse({"stage": config(1).stage.model_dump(), "launch": {"nodes": 2}})


def test_the_runtime_holds_only_what_the_api_knows() -> None:
    document = yaml.safe_load((ROOT / "infra/runtimes/omnivec-torch.yaml").read_text())
    assert models.TrainerV1alpha1ClusterTrainingRuntime.from_dict(document).to_dict() == document

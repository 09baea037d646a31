"""The compiled pipeline, and submission to a cluster that is or is not there."""

import inspect
import json
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.json_format import ParseDict
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

from components.mine.config import MineConfig
from model.training.config import SoupConfig, StageConfig
from pipelines.compiled import ClusterError, compile_yaml, submit
from pipelines.graph import build
from pipelines.plan import UNCACHED
from pipelines.recipe import load, read

CLUSTER = [
    "cluster.home_claim=omnivec-state",
    "cluster.tracking_uri=http://mlflow:5000",
    "cluster.retries=2",
    "cluster.steps.train.gpus=1",
    "cluster.steps.train.shared_memory=2Gi",
    "cluster.steps.train-finetune.gpus=2",
]


@pytest.fixture(autouse=True)
def _frames_without_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """kfp reads the source of every frame at each call: seconds, beside thousands of modules."""
    monkeypatch.setattr(inspect, "stack", partial(inspect.stack, 0))


def test_golden_training_pipeline(golden: Callable[[str, str], None]) -> None:
    golden("training_pipeline.yaml", compile_yaml(load("quickstart")))


def test_compilation_is_deterministic() -> None:
    assert compile_yaml(load("debug")) == compile_yaml(load("debug"))


def test_steps_their_order_images_and_caching() -> None:
    spec = next(yaml.safe_load_all(compile_yaml(load("debug"), image="images.example/omnivec@sha256:1")))
    tasks = spec["root"]["dag"]["tasks"]
    named = {task["taskInfo"]["name"]: task for task in tasks.values()}
    assert set(named) == {
        "validate", "audit", "init_model", "features", "train-align", "train-finetune", "soup", "evaluate", "export",
        "register", "serve_check", "gate", "drift",
    }  # fmt: skip
    uncached = {name for name, task in named.items() if not task["cachingOptions"].get("enableCache")}
    assert uncached == UNCACHED
    containers = [executor["container"] for executor in spec["deploymentSpec"]["executors"].values()]
    assert {container["image"] for container in containers} == {"images.example/omnivec@sha256:1"}
    assert not [c for c in containers if "pip install" in json.dumps(c)], "pods must not install anything"
    ParseDict(spec, PipelineSpec())


def test_no_condition_decides_on_what_a_step_said() -> None:
    """kfp 2.17 evaluates string outputs in conditions as Python when it runs locally (GHSA-rhjm-6347-5x33)."""
    assert "triggerPolicy" not in compile_yaml(load("quickstart"))


def test_gate_reports_a_boolean() -> None:
    spec = next(yaml.safe_load_all(compile_yaml(load("debug"))))
    outputs = spec["components"]["comp-gate"]["outputDefinitions"]["parameters"]
    assert outputs["promoted"]["parameterType"] == "BOOLEAN"


def test_without_a_soup_there_is_none() -> None:
    config = load("debug")
    config = config.model_copy(update={"stages": config.stages[:2]})
    graph = build(config, lambda _: "i")
    assert [step.name for step in graph.steps if step.component in {"train", "soup"}] == [
        "train-align", "train-finetune"
    ]  # fmt: skip


def test_repeated_kinds_get_names_of_their_own() -> None:
    config = load("debug")
    config = config.model_copy(update={"stages": (config.stages[0], *config.stages[1:2] * 2)})
    names = [step.name for step in build(config, lambda _: "i").steps if step.component == "train"]
    assert names == ["train-align", "train-finetune", "train-finetune-2"]


def test_a_distill_stage_is_a_training_step() -> None:
    config = load("debug")
    stage = {**config.stages[0].model_dump(), "kind": "distill", "teacher": {"model": "/models/large"}}
    config = config.model_copy(update={"stages": (config.stages[0], StageConfig.parse(stage))})
    steps = [step for step in build(config, lambda _: "i").steps if step.component == "train"]
    assert [step.name for step in steps] == ["train-align", "train-distill"]


def test_the_cache_follows_what_a_teacher_holds_and_not_its_path(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    teacher.mkdir()

    def documents() -> list[str]:
        config = load("debug")
        stage = {**config.stages[0].model_dump(), "kind": "distill", "teacher": {"model": str(teacher)}}
        soup = {"kind": "soup", "ingredients": [str(teacher)]}
        mining = {"kind": "mine", "judge": {"model": str(teacher)}}
        stages = (MineConfig.parse(mining), StageConfig.parse(stage), SoupConfig.parse(soup))
        tasks = build(config.model_copy(update={"stages": stages}), lambda _: "i").pipeline.pipeline_spec.root.dag.tasks
        values = [tasks[name].inputs.parameters["config"] for name in ("mine", "train", "soup", "evaluate")]
        return [value.runtime_value.constant.string_value for value in values]

    (teacher / "weights").write_text("first")
    before = documents()
    assert documents() == before
    (teacher / "weights").write_text("second")
    changed = [new != old for new, old in zip(documents(), before, strict=True)]
    assert changed == [True, True, True, False]


def test_stages_after_mining_train_on_what_it_wrote() -> None:
    config = load("debug")
    align, finetune = config.stages[:2]
    config = config.model_copy(update={"stages": (align, MineConfig(), finetune)})
    graph = build(config, lambda _: "i")
    assert [step.name for step in graph.steps if step.component in {"train", "mine"}] == [
        "train-align", "mine", "train-finetune"
    ]  # fmt: skip
    tasks = graph.pipeline.pipeline_spec.root.dag.tasks
    sources = {
        name: tasks[name].inputs.artifacts["dataset"].task_output_artifact.producer_task
        for name in ("train", "mine", "train-2", "evaluate")
    }
    assert sources == {"train": "audit", "mine": "audit", "train-2": "mine", "evaluate": "audit"}


def test_cluster_settings_reach_the_steps() -> None:
    spec, platform = yaml.safe_load_all(compile_yaml(load("debug", CLUSTER)))
    executors = spec["deploymentSpec"]["executors"]
    assert executors["exec-train"]["container"]["resources"]["accelerator"]["resourceCount"] == "1"
    assert executors["exec-train-2"]["container"]["resources"]["accelerator"]["resourceCount"] == "2"
    assert "accelerator" not in executors["exec-validate"]["container"]["resources"]
    env = {item["name"]: item["value"] for item in executors["exec-train"]["container"]["env"]}
    assert env["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    mounts = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert mounts["exec-train"]["emptyDirMounts"][0]["mountPath"] == "/dev/shm"
    assert mounts["exec-validate"]["pvcMount"][0]["mountPath"] == env["OMNIVEC_HOME"]
    assert spec["root"]["dag"]["tasks"]["train"]["retryPolicy"]["maxRetryCount"] == 2


def test_local_pipeline_has_no_cluster_settings() -> None:
    """They would enter the local cache keys, and OMNIVEC_HOME would point into a pod."""
    graph = build(load("debug", CLUSTER), lambda _: "i")
    spec = graph.pipeline.pipeline_spec
    assert not [e for e in spec.deployment_spec["executors"].values() if "env" in e["container"]]


def test_submission_without_a_cluster_names_the_host() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"no Kubeflow Pipelines answers at {host}"):
            submit(load("debug"), host)


class Fake(BaseHTTPRequestHandler):
    """The few addresses of the Kubeflow Pipelines API that a submission uses. Proves the client's side only."""

    runs: list[dict[str, Any]]
    refuse = False

    def do_GET(self) -> None:
        self._answer({"experiments": [{"experiment_id": "e1", "display_name": "omnivec"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/runs"):
            self.runs.append(body)
        if self.refuse:
            self._answer({"error": "quota"}, 403)
            return
        self._answer({"experiment_id": "e1", "run_id": "run-1", "display_name": body.get("display_name")})

    def _answer(self, value: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[tuple[str, type[Fake]]]:
    handler = type("Handler", (Fake,), {"runs": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def test_submission_sends_the_compiled_pipeline(fake: tuple[str, type[Fake]]) -> None:
    host, handler = fake
    assert submit(load("debug"), host, image="images.example/o@sha256:2", corpus_digest="c1") == "run-1"
    (body,) = handler.runs
    expected = next(yaml.safe_load_all(compile_yaml(load("debug"), "images.example/o@sha256:2")))
    sent = body["pipeline_spec"]
    assert sent.get("pipeline_spec", sent) == expected
    assert body["runtime_config"]["parameters"] == {"corpus": read("debug")["corpus"], "corpus_digest": "c1"}


def test_refusal_of_the_cluster_is_reported(fake: tuple[str, type[Fake]]) -> None:
    host, handler = fake
    handler.refuse = True
    with pytest.raises(ClusterError, match="403"):
        submit(load("debug"), host)

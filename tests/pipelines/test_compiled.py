"""The compiled pipeline, and submission to a cluster that is or is not there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.json_format import ParseDict
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

from components.mine.config import MineConfig
from model.training.config import SoupConfig, StageConfig
from pipelines.cluster import ACTING
from pipelines.compiled import compile_yaml
from pipelines.graph import build
from pipelines.recipe import load

CLUSTER = [
    "cluster.home_claim=omnivec-state",
    "cluster.tracking_uri=http://mlflow:5000",
    "cluster.retries=2",
    "cluster.steps.train.gpus=1",
    "cluster.steps.train.shared_memory=2Gi",
    "cluster.steps.train-finetune.gpus=2",
]


def steps_of(spec: dict[str, Any]) -> dict[str, Any]:
    return spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]


def wired(graph: Any) -> Any:
    return graph.pipeline.pipeline_spec.components["comp-exit-handler-1"].dag.tasks


def test_golden_training_pipeline(golden: Callable[[str, str], None]) -> None:
    golden("training_pipeline.yaml", compile_yaml(load("quickstart")))


@pytest.mark.minutes
def test_compilation_is_deterministic() -> None:
    assert compile_yaml(load("debug")) == compile_yaml(load("debug"))


def test_steps_their_order_images_and_caching() -> None:
    spec = next(yaml.safe_load_all(compile_yaml(load("debug"), image="images.example/omnivec@sha256:1")))
    tasks = steps_of(spec) | {"report": spec["root"]["dag"]["tasks"]["report"]}
    named = {task["taskInfo"]["name"]: task for task in tasks.values()}
    assert set(named) == {
        "validate", "audit", "init_model", "features", "train-align", "train-finetune", "soup", "evaluate", "export",
        "register", "serve_check", "gate", "drift", "report",
    }  # fmt: skip
    uncached = {name for name, task in named.items() if not task["cachingOptions"].get("enableCache")}
    assert uncached == ACTING
    containers = [executor["container"] for executor in spec["deploymentSpec"]["executors"].values()]
    assert {container["image"] for container in containers} == {"images.example/omnivec@sha256:1"}
    assert not [c for c in containers if "pip install" in json.dumps(c)], "pods must not install anything"
    ParseDict(spec, PipelineSpec())


def test_no_condition_decides_on_what_a_step_said() -> None:
    """kfp 2.17 evaluates string outputs in conditions as Python when it runs locally (GHSA-rhjm-6347-5x33)."""
    text = compile_yaml(load("quickstart"))
    assert "condition:" not in text
    assert text.count("triggerPolicy") == 1, "only the report has one: it comes after success and failure"


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
        tasks = wired(build(config.model_copy(update={"stages": stages}), lambda _: "i"))
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
    tasks = wired(graph)
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
    assert steps_of(spec)["train"]["retryPolicy"]["maxRetryCount"] == 2


def test_local_pipeline_has_no_cluster_settings() -> None:
    """They would enter the local cache keys, and OMNIVEC_HOME would point into a pod."""
    graph = build(load("debug", CLUSTER), lambda _: "i")
    spec = graph.pipeline.pipeline_spec
    assert not [e for e in spec.deployment_spec["executors"].values() if "env" in e["container"]]

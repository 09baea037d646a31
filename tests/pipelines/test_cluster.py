"""The cluster section: all its problems at once, what steps inherit, and where it arrives in the compiled pipeline."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given
from hypothesis import strategies as st
from kfp.kubernetes import kubernetes_executor_config_pb2 as platform_pb
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

from model.errors import ConfigError
from pipelines.advice import advice
from pipelines.cluster import ACTING, TARGETS, ClusterConfig, Resources
from pipelines.compiled import compile_yaml
from pipelines.graph import build, step_names
from pipelines.quantities import octets
from pipelines.recipe import load

DIGEST = "images.example/omnivec@sha256:" + "0" * 64
FULL: dict[str, Any] = {
    "image": DIGEST,
    "images": {"data": "images.example/data@sha256:1", "train": "images.example/train@sha256:2"},
    "pull_policy": "Always",
    "pull_secrets": ["pull"],
    "namespace": "team",
    "service_account": "pipelines",
    "home_claim": "state",
    "tracking_uri": "http://mlflow:5000",
    "env": {"HF_HUB_OFFLINE": "1"},
    "secrets": [
        {"name": "mlflow", "env": {"MLFLOW_TRACKING_TOKEN": "token"}},
        {"name": "hub", "env": {"HF_TOKEN": "token"}, "steps": ["init_model"], "optional": True},
        {"name": "store", "env": {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}},
    ],
    "config_maps": [{"name": "ca", "mount": "/etc/site", "steps": ["init_model", "validate"]}],
    "queue": "train",
    "priority": "urgent",
    "gpu_nodes": {
        "node_selector": {"pool": "h200"},
        "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
        "affinity": [{"match": [{"key": "zone", "values": ["a", "b"]}], "weight": 50}],
    },
    "default": {"cpu": 4, "memory": "16Gi", "timeout_minutes": 120},
    "steps": {
        "features": {"gpus": 1, "cache": False},
        "train": {"cpu": "16", "cpu_limit": "none", "memory": "128Gi", "memory_limit": "160Gi", "gpus": 8,
                  "shared_memory": "32Gi", "retries": 5, "labels": {"cost": "gpu"}, "annotations": {"note": "a b"}},
        "train-finetune": {"timeout_minutes": 600, "tolerations": [{"key": "spot"}]},
    },
    "retries": 2,
    "deadline_hours": 48,
    "keep_hours": 24,
}  # fmt: skip


@pytest.fixture(scope="module")
def text() -> str:
    """A compiled pipeline of a section that says everything."""
    return compile_yaml(load("h200-base").model_copy(update={"cluster": ClusterConfig.parse(FULL)}))


@pytest.fixture(scope="module")
def full(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same, read: the pipeline and its platform part."""
    spec, platform = yaml.safe_load_all(text)
    return spec, platform


def test_golden_cluster_pipeline(text: str, golden: Callable[[str, str], None]) -> None:
    golden("cluster_pipeline.yaml", text)


def test_every_problem_is_reported_at_once() -> None:
    wrong = [
        "cluster.default.memory=8GB",
        "cluster.default.cpu=two",
        "cluster.steps.trian={gpus: 1}",
        "cluster.steps.soup={shared_memory: 1}",
        "cluster.secrets=[{name: Mlflow, env: {OMNIVEC_HOME: x}}]",
        "cluster.config_maps=[{name: ca}]",
        "cluster.gpu_nodes.tolerations=[{operator: Equal, key: k}]",
        "cluster.default.labels={a b: c}",
        "cluster.pull_policy=Sometimes",
    ]
    with pytest.raises(ConfigError) as refused:
        load("debug", wrong)
    text = str(refused.value)
    for expected in (
        "cluster.default.memory: Value error, '8GB' is no quantity of memory",
        "cluster.default.cpu: Value error, 'two' is no number of processors",
        "did you mean 'train'?",
        "'Mlflow' is no name of a Kubernetes object",
        "'OMNIVEC_HOME' is no variable that may be set",
        "'ca' is given to nobody",
        "operator Equal needs value",
        "no labels of Kubernetes: a b",
        "cluster.pull_policy",
    ):
        assert expected in text
    assert "9 problem(s)" in text


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"default": {"memory": "8Gi", "memory_limit": "4Gi"}}, "default: memory_limit 4Gi is below memory 8Gi"),
        (
            {"default": {"memory_limit": "32Gi"}, "steps": {"train": {"memory": "64Gi"}}},
            "steps.train: memory_limit 32Gi is below memory 64Gi",
        ),
        ({"steps": {"soup": {"shared_memory": "9Gi"}}}, "counts as memory"),
        ({"steps": {"gate": {"cache": True}}}, "steps.gate.cache: the step acts on the registry"),
        (
            {"tracking_uri": "http://m", "secrets": [{"name": "m", "env": {"MLFLOW_TRACKING_URI": "u"}}]},
            "MLFLOW_TRACKING_URI is set by tracking_uri and by secrets.m",
        ),
    ],
)
def test_what_does_not_fit_together(section: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        ClusterConfig.parse(section)


def test_a_step_adds_to_its_component_and_that_to_the_default() -> None:
    cluster = ClusterConfig.parse(FULL)
    step = cluster.resources("train-finetune", "train")
    assert (step.cpu, step.memory, step.gpus, step.timeout_minutes) == ("16", "128Gi", 8, 600)
    assert step.limits() == (None, "160Gi")
    assert [entry.key for entry in step.tolerations] == ["nvidia.com/gpu", "spot"]
    assert cluster.resources("train-align", "train").timeout_minutes == 120
    assert cluster.resources("audit", "audit").node_selector == {}
    assert Resources().limits() == ("2", "8Gi")


def test_every_step_has_an_image_and_no_other_name_is_known() -> None:
    graph = build(load("quickstart"), lambda _: "i")
    assert {step.component for step in graph.steps} | {"mine", "report"} == set(TARGETS)
    assert set(TARGETS) >= ACTING


@pytest.mark.parametrize("name", ["quickstart", "multinode", "h200-base"])
def test_planned_names_are_those_of_the_graph(name: str) -> None:
    config = load(name)
    assert list(step_names(config)) == [step.name for step in build(config, lambda _: "i").steps]


@pytest.mark.parametrize("recipe", ["full", "multinode"])
def test_the_pipeline_is_what_the_protos_know(recipe: str, full: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Parsed and written again it is the same: nothing is dropped, nothing is misspelt."""
    spec, platform = full if recipe == "full" else yaml.safe_load_all(compile_yaml(load(recipe)))
    assert MessageToDict(ParseDict(spec, PipelineSpec())) == spec
    assert MessageToDict(ParseDict(platform, PlatformSpec())) == platform
    for executor in executors((spec, platform)).values():
        parsed = ParseDict(executor, platform_pb.KubernetesExecutorConfig())
        assert MessageToDict(parsed) == executor


def executors(full: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return full[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_resources_limits_and_images_arrive(full: tuple[dict[str, Any], dict[str, Any]]) -> None:
    containers = {name: ex["container"] for name, ex in full[0]["deploymentSpec"]["executors"].items()}
    train = containers["exec-train"]["resources"]
    assert train["resourceCpuRequest"] == "16"
    assert "resourceCpuLimit" not in train
    assert (train["resourceMemoryRequest"], train["resourceMemoryLimit"]) == ("128Gi", "160Gi")
    assert train["accelerator"] == {
        "count": "8", "resourceCount": "8", "resourceType": "nvidia.com/gpu", "type": "nvidia.com/gpu"
    }  # fmt: skip
    assert containers["exec-validate"]["image"] == "images.example/data@sha256:1"
    assert containers["exec-train"]["image"] == "images.example/train@sha256:2"
    assert containers["exec-gate"]["image"] == "images.example/train@sha256:2"
    assert containers["exec-drift"]["image"] == DIGEST
    tasks = full[0]["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert tasks["train"]["retryPolicy"] == {
        "backoffDuration": "60s", "backoffFactor": 2.0, "backoffMaxDuration": "3600s", "maxRetryCount": 5
    }  # fmt: skip
    assert tasks["audit"]["retryPolicy"]["maxRetryCount"] == 2
    assert not tasks["features"]["cachingOptions"]
    assert tasks["audit"]["cachingOptions"] == {"enableCache": True}


def test_nodes_secrets_and_security_arrive(full: tuple[dict[str, Any], dict[str, Any]]) -> None:
    tuned, first = executors(full)["exec-train-2"], executors(full)["exec-init-model"]
    assert tuned["nodeSelector"]["labels"] == {"pool": "h200"}
    assert [entry["key"] for entry in tuned["tolerations"]] == ["nvidia.com/gpu", "spot"]
    assert tuned["nodeAffinity"][0]["weight"] == 50
    assert tuned["activeDeadlineSeconds"] == "36000"
    assert tuned["podMetadata"]["labels"]["cost"] == "gpu"
    assert tuned["podMetadata"]["annotations"] == {"note": "a b"}
    assert {mount["mountPath"] for mount in tuned["emptyDirMounts"]} == {"/dev/shm"}
    assert tuned["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
    assert tuned["imagePullPolicy"] == "Always"
    assert tuned["imagePullSecret"][0]["secretName"] == "pull"

    def variables(executor: dict[str, Any]) -> set[str]:
        return {pair["envVar"] for entry in executor["secretAsEnv"] for pair in entry["keyToEnv"]}

    shared = {"MLFLOW_TRACKING_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert variables(tuned) == shared, "the hub's token is for one step only"
    assert variables(first) == shared | {"HF_TOKEN"}
    assert first["configMapAsVolume"][0]["mountPath"] == "/etc/site"
    assert "configMapAsVolume" not in tuned
    assert "nodeSelector" not in executors(full)["exec-audit"]
    assert full[1]["platforms"]["kubernetes"]["pipelineConfig"] == {
        "activeDeadlineSeconds": 172800, "resourceTtlOnCompletion": 86400
    }  # fmt: skip


def test_the_report_has_what_it_needs_to_report_a_failure(full: tuple[dict[str, Any], dict[str, Any]]) -> None:
    task = full[0]["root"]["dag"]["tasks"]["report"]
    assert task["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert task["inputs"]["parameters"]["status"] == {"taskFinalStatus": {"producerTask": "exit-handler-1"}}
    mine = executors(full)["exec-report"]
    assert mine["pvcMount"][0]["mountPath"] == "/var/lib/omnivec"
    assert mine["fieldPathAsEnv"] == [{"name": "OMNIVEC_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]


def test_a_trainjob_goes_where_the_section_says() -> None:
    config = load("multinode").model_copy(update={"cluster": ClusterConfig.parse(FULL)})
    graph = build(config, lambda component: f"{component}@sha256:1", config.cluster)
    tasks = graph.pipeline.pipeline_spec.components["comp-exit-handler-1"].dag.tasks
    document = yaml.safe_load(tasks["train"].inputs.parameters["config"].runtime_value.constant.string_value)
    job = document["launch"]["trainjob"]
    assert (job["image"], job["pull_secrets"]) == ("nodes@sha256:1", ["pull"])
    assert (job["queue"], job["priority"]) == ("train", "urgent")
    assert job["claim"] == "omnivec-state", "what the recipe names itself stays"
    assert job["node_selector"] == {"pool": "h200"}
    assert job["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_advice() -> None:
    assert advice(load("debug", [f"cluster.image={DIGEST}", "cluster.home_claim=state"])) == []
    assert "not named by digest" in advice(load("debug", ["cluster.home_claim=state"]))[0]
    said = "\n".join(
        advice(
            load(
                "multinode",
                [
                    f"cluster.image={DIGEST}",
                    "cluster.steps.train={timeout_minutes: 60, gpus: 1}",
                    "cluster.steps.train-distill={gpus: 1}",
                    "launch.trainjob.claim=other",
                    "cluster.queue=null",
                    "cluster.priority=urgent",
                ],
            )
        )
    )
    for expected in (
        "'train-distill', which this run does not have",
        "raise cluster.steps.train.timeout",
        "mount 'other'",
        "only waits",
        "heeded by Kueue alone",
    ):
        assert expected in said
    assert "starts from nothing" in advice(load("debug", [f"cluster.image={DIGEST}", "cluster.retries=1"]))[0]


@given(number=st.integers(1, 10**6), unit=st.sampled_from(["", "Ki", "Mi", "Gi", "M", "G"]))
def test_memory_is_read_as_kubernetes_reads_it(number: int, unit: str) -> None:
    from kubernetes.utils.quantity import parse_quantity

    assert octets(f"{number}{unit}") == float(parse_quantity(f"{number}{unit}"))

"""Where the nodes of a TrainJob go: what is asked for stands in the job that the SDK would send."""

from typing import Any

from components.train.config import TrainJobConfig
from components.train.trainjob import PRIORITY, QUEUE, options_of


def job_of(wanted: TrainJobConfig) -> dict[str, Any]:
    from kubeflow.trainer.backends.kubernetes.backend import KubernetesBackend

    spec: dict[str, Any] = {}
    backend = object.__new__(KubernetesBackend)  # options only look at its type
    for option in options_of(wanted):
        option(spec, None, backend)
    return spec


def pod_of(spec: dict[str, Any]) -> dict[str, Any]:
    (patch,) = spec["spec"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    return job["template"]["spec"]["template"]["spec"]


def test_nodes_tolerations_queue_priority_and_secrets_are_in_the_job() -> None:
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    wanted = TrainJobConfig(
        node_selector={"pool": "h200"},
        tolerations=(toleration,),
        queue="train",
        priority="urgent",
        pull_secrets=("pull",),
    )
    spec = job_of(wanted)
    assert spec["metadata"]["labels"] == {QUEUE: "train", PRIORITY: "urgent"}
    pod = pod_of(spec)
    assert pod["nodeSelector"] == {"pool": "h200"}
    assert pod["tolerations"] == [toleration]
    assert pod["imagePullSecrets"] == [{"name": "pull"}]


def test_what_is_not_asked_for_is_left_to_the_runtime() -> None:
    spec = job_of(TrainJobConfig())
    assert not {"nodeSelector", "tolerations", "imagePullSecrets"} & set(pod_of(spec))
    assert "kueue" not in str(spec)

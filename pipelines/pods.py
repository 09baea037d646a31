"""What the pods of a run wrote, from the Kubernetes API."""

from collections.abc import Iterator, Mapping
from typing import Any

from model.errors import ConfigError
from pipelines.access import ClusterError
from pipelines.cluster import RUN_ID_LABEL
from pipelines.kube import api_client, get, text
from pipelines.runs import task_names

NODE = "workflows.argoproj.io/node-name"
STEP = "omnivec/step"


def step_logs(
    run: Any, step: str, *, namespace: str, context: str | None = None, tail: int | None = None
) -> Iterator[str]:
    """Lines of a step's container, one attempt after the other.

    Args:
        run: as Kubeflow Pipelines knows it.
        step: name of the step, such as ``train-finetune``.
        namespace: of the pods.
        context: of the kubeconfig.
        tail: only as many lines of each attempt.

    Raises:
        ConfigError: the run has no such step.
        ClusterError: the Kubernetes API does not answer, or the pod is gone.
    """
    names = task_names(run.pipeline_spec)
    if names and step not in names.values():
        raise ConfigError(f"the run has no step {step!r}; it has {', '.join(sorted(set(names.values())))}")
    api = api_client(context)
    pods = sorted(
        (pod for pod in _pods(api, namespace, run.run_id) if step_of(pod, names) == step),
        key=lambda pod: pod["metadata"].get("creationTimestamp") or "",
    )
    if not pods:
        raise ClusterError(
            f"no pod of step {step!r} of run {run.run_id} is left in namespace {namespace!r}: it was taken from the "
            "cache, has not started, or was removed after the run (cluster.keep_hours). The step's record with its "
            "error is in OMNIVEC_HOME/runs/ID/steps and in MLflow; full logs are in the object store where Argo's "
            "archiveLogs is on"
        )
    for number, pod in enumerate(pods, 1):
        name = pod["metadata"]["name"]
        if len(pods) > 1:
            yield f"=== attempt {number} of {len(pods)}: {name} ({pod.get('status', {}).get('phase', '?')})"
        yield from _log(api, namespace, name, tail)
        yield from why_ended(pod)


def step_of(pod: Mapping[str, Any], names: Mapping[str, str]) -> str | None:
    """Which of our steps a pod ran; None for the drivers of Kubeflow Pipelines.

    The label is ours; without it the node's name tells, as in ``omnivec-training-x7k.root.exit-handler-1.train-2.
    executor(0)``: the task before the executor.
    """
    labels, notes = pod["metadata"].get("labels") or {}, pod["metadata"].get("annotations") or {}
    if STEP in labels:
        return str(labels[STEP])
    parts = [part.partition("(")[0] for part in notes.get(NODE, "").split(".")]
    if len(parts) < 2 or parts[-1] != "executor":
        return None
    return str(names.get(parts[-2], parts[-2]))


def why_ended(pod: dict[str, Any]) -> Iterator[str]:
    """What Kubernetes knows and the log does not: killed for memory, evicted, no such image."""
    status = pod.get("status") or {}
    if status.get("reason"):
        yield f"--- the pod: {status['reason']}: {status.get('message', '')}".rstrip(": ")
    for container in status.get("containerStatuses") or []:
        if container["name"] != "main":
            continue
        for state in (container.get("state") or {}).values():
            reason = (state or {}).get("reason")
            if reason and reason != "Completed":
                code = f", exit code {state['exitCode']}" if "exitCode" in state else ""
                yield f"--- the container: {reason}{code} {state.get('message') or ''}".rstrip()


def _pods(api: Any, namespace: str, run_id: str) -> list[dict[str, Any]]:
    path = f"/api/v1/namespaces/{namespace}/pods"
    status, found = get(api, path, labelSelector=f"{RUN_ID_LABEL}={run_id}")
    if status != 200:
        raise ClusterError(
            f"the Kubernetes API does not list pods in {namespace!r}: HTTP {status} {found}. One may need the right "
            "to list pods and get pods/log there, or another --context"
        )
    return list(found.get("items") or [])


def _log(api: Any, namespace: str, pod: str, tail: int | None) -> Iterator[str]:
    query: dict[str, Any] = {"container": "main"} | ({"tailLines": tail} if tail else {})
    status, said = text(api, f"/api/v1/namespaces/{namespace}/pods/{pod}/log", **query)
    if status == 200:
        yield from said.splitlines()
    else:
        yield f"--- no log of {pod}: {said}"

"""Would Kueue ever start the TrainJobs of a recipe? A queue that cannot leaves them waiting without a word."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from pipelines.commands.doctor import Check
from pipelines.config import RunConfig
from pipelines.kube import get
from pipelines.placement import image_of, launched
from pipelines.quantities import cores, octets

GROUP = "/apis/kueue.x-k8s.io"
VERSIONS = ("v1beta2", "v1beta1")
HIDDEN = "not visible to you, so not checked"


def queue(api: Any, config: RunConfig, namespace: str) -> Iterator[Check]:
    """The recipe's LocalQueue, whether the quota behind it is large enough for one TrainJob, and the job's priority.

    Args:
        api: client of the Kubernetes API.
        config: the recipe; ``cluster.queue`` is set.
        namespace: of the runs.
    """
    name = str(config.cluster.queue)
    status, found = _newest(api, f"namespaces/{namespace}/localqueues/{name}")
    if status == 403:
        yield Check("queue", True, f"{name}: {HIDDEN}")
        return
    if status != 200:
        way_out = f"make a LocalQueue {name!r} in {namespace} (infra/components/kueue), or leave cluster.queue empty"
        yield Check("queue", False, f"{name}: {found}", way_out)
        return
    behind = (found.get("spec") or {}).get("clusterQueue", "")
    stopped = _not_active(found)
    way_out = f"'kubectl describe -n {namespace} localqueue {name}' and its ClusterQueue {behind!r} say more"
    yield Check("queue", not stopped, f"{name}: {stopped or 'there'}", way_out)
    if config.launch.backend == "trainjob" and behind:
        yield _quota(api, config, behind)
        yield from _priority(api, config)


def needed(config: RunConfig) -> dict[str, float]:
    """What the nodes of one TrainJob ask for together, by resource."""
    launch = launched(config.launch, config.cluster, partial(image_of, config))
    job = launch.trainjob
    gpus = launch.processes if job.gpus is None else job.gpus
    each = {"cpu": cores(job.cpu), "memory": octets(job.memory)} | ({job.gpu_type: float(gpus)} if gpus else {})
    return {name: launch.nodes * amount for name, amount in each.items()}


def lacking(spec: Mapping[str, Any], wanted: Mapping[str, float]) -> list[str]:
    """Why a ClusterQueue could not take a job even when nothing else runs; borrowing counts as far as it may go."""
    covered = [name for group in spec.get("resourceGroups") or () for name in group["coveredResources"]]
    found = [f"no {name}: the queue does not cover it" for name in wanted if name not in covered]
    for group in spec.get("resourceGroups") or ():
        names = [name for name in group["coveredResources"] if name in wanted]
        short = sorted((list(_short(flavor, names, wanted, spec)) for flavor in group["flavors"]), key=len)
        found += short[0] if short else []  # a job takes one flavor of a group
    return found


def _short(
    flavor: Mapping[str, Any], names: Iterable[str], wanted: Mapping[str, float], spec: Mapping[str, Any]
) -> Iterator[str]:
    quotas = {entry["name"]: entry for entry in flavor["resources"]}
    borrows = spec.get("cohortName") or spec.get("cohort")
    for name in names:
        entry = quotas.get(name, {"nominalQuota": "0"})
        if borrows and "borrowingLimit" not in entry:
            continue
        room = _amount(name, entry["nominalQuota"]) + _amount(name, entry.get("borrowingLimit", "0"))
        if room < wanted[name]:
            yield f"{_said(name, wanted[name])} of {name} needed, {_said(name, room)} in flavor {flavor['name']}"


def _quota(api: Any, config: RunConfig, behind: str) -> Check:
    status, found = _newest(api, f"clusterqueues/{behind}")
    if status == 403:
        return Check("quota", True, f"ClusterQueue {behind}: {HIDDEN}")
    if status != 200:
        return Check("quota", False, f"ClusterQueue {behind}: {found}", f"make the ClusterQueue {behind!r}")
    wanted = needed(config)
    asked = ", ".join(f"{_said(name, amount)} of {name}" for name, amount in wanted.items())
    problems = lacking(found.get("spec") or {}, wanted)
    way_out = (
        f"raise nominalQuota of the ClusterQueue {behind!r}, or ask for less by launch.nodes, launch.processes and "
        "launch.trainjob; until then the job waits for ever"
    )
    stopped = _not_active(found)
    said = "; ".join(problems) or stopped or f"large enough for a TrainJob ({asked})"
    way_out = way_out if problems else f"'kubectl describe clusterqueue {behind}' says more"
    return Check("quota", not problems and not stopped, f"ClusterQueue {behind}: {said}", way_out)


def _priority(api: Any, config: RunConfig) -> Iterator[Check]:
    name = launched(config.launch, config.cluster, partial(image_of, config)).trainjob.priority
    if name is None:
        return
    status, found = _newest(api, f"workloadpriorityclasses/{name}")
    said = HIDDEN if status == 403 else f"value {found.get('value')}" if status == 200 else str(found)
    way_out = (
        f"make the WorkloadPriorityClass {name!r} (infra/components/kueue), or leave cluster.priority empty; "
        "until then the job waits for ever"
    )
    yield Check("priority", status in (200, 403), f"{name}: {said}", way_out)


def _newest(api: Any, path: str) -> tuple[int, Any]:
    """The answer of the newest version that knows the path."""
    status, found = 0, None
    for version in VERSIONS:
        status, found = get(api, f"{GROUP}/{version}/{path}")
        if status in (200, 403):
            break
    return status, found


def _not_active(thing: Mapping[str, Any]) -> str:
    """What a queue says of itself when it takes nothing; empty when it does, or says nothing yet."""
    for condition in (thing.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Active" and condition.get("status") == "False":
            return f"takes no job: {condition.get('message') or condition.get('reason')}"
    return ""


def _amount(name: str, quantity: Any) -> float:
    return octets(str(quantity)) if name == "memory" else cores(str(quantity))


def _said(name: str, amount: float) -> str:
    return f"{amount / 2**30:g} GiB" if name == "memory" else f"{amount:g}"

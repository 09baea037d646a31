"""Do the nodes of a cluster have what the steps of a recipe ask for?"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from components.train.config import TrainJobConfig
from pipelines.cluster import Resources
from pipelines.commands.doctor import Check
from pipelines.config import RunConfig
from pipelines.graph import step_names
from pipelines.kube import get
from pipelines.placement import image_of, launched
from pipelines.quantities import cores, octets

BLOCKING = ("NoSchedule", "NoExecute")
Pairs = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Demand:
    """What one pod asks for, and how many such pods run at the same time."""

    cpu: float
    memory: float
    gpus: int
    gpu_type: str
    selector: Pairs = ()
    tolerations: tuple[Pairs, ...] = ()
    pods: int = 1

    def describe(self) -> str:
        """For people."""
        gpus = f"{self.gpus} x {self.gpu_type}, " if self.gpus else ""
        labels = "".join(f", {key}={value}" for key, value in self.selector)
        return f"{gpus}{self.cpu:g} cpu, {self.memory / 2**30:.0f} GiB{labels}"


def nodes(api: Any, config: RunConfig) -> Iterator[Check]:
    """A check for each kind of pod: how many nodes could take it, were they empty. Affinities are not looked at."""
    status, found = get(api, "/api/v1/nodes")
    if status != 200:
        yield Check("nodes", True, f"you may not list nodes (HTTP {status}), so it is not checked what fits")
        return
    items = found.get("items") or []
    kinds = demands(config)
    yield Check("nodes", bool(items), _overview(items, {demand.gpu_type for demand in kinds}), "there is no node")
    for demand, steps in kinds.items():
        fitting = sum(not obstacles(node, demand) for node in items)
        said = f"{demand.describe()}: {fitting} of {len(items)} nodes (for {', '.join(steps)})"
        said += f", {demand.pods} needed" if demand.pods > 1 else ""
        yield Check("fits", fitting >= demand.pods, said, _way_out(items, demand))


def demands(config: RunConfig) -> dict[Demand, list[str]]:
    """Steps by what their pods ask for; the nodes of a TrainJob are one of them."""
    kinds: dict[Demand, list[str]] = {}
    for name in step_names(config):
        kinds.setdefault(_of_step(config.cluster.resources(name, name.partition("-")[0])), []).append(name)
    if config.launch.backend == "trainjob":
        launch = launched(config.launch, config.cluster, partial(image_of, config))
        kinds.setdefault(_of_job(launch.trainjob, launch.processes, launch.nodes), []).append("TrainJob")
    return kinds


def obstacles(node: Mapping[str, Any], demand: Demand) -> list[str]:
    """Why an empty node could not take a pod."""
    there = (node.get("status") or {}).get("allocatable") or {}
    found = []
    if demand.gpus > int(there.get(demand.gpu_type, 0)):
        found.append(f"{there.get(demand.gpu_type, 0)} {demand.gpu_type}")
    if demand.cpu > cores(str(there.get("cpu", "0"))):
        found.append(f"{there.get('cpu', 0)} cpu")
    if demand.memory > octets(str(there.get("memory", "0"))):
        found.append(f"{octets(str(there.get('memory', '0'))) / 2**30:.0f} GiB")
    labels = node["metadata"].get("labels") or {}
    found += [f"not {key}={value}" for key, value in demand.selector if labels.get(key) != value]
    spec = node.get("spec") or {}
    found += ["cordoned"] if spec.get("unschedulable") else []
    taints = [taint for taint in spec.get("taints") or [] if taint.get("effect") in BLOCKING]
    puts_up = [dict(entry) for entry in demand.tolerations]
    found += [f"taint {t['key']}={t.get('value', '')}:{t['effect']}" for t in taints if not _tolerated(t, puts_up)]
    return found


def _tolerated(taint: Mapping[str, Any], tolerations: Iterable[Mapping[str, Any]]) -> bool:
    return any(
        entry.get("key") in (None, "", taint["key"])
        and entry.get("effect") in (None, "", taint["effect"])
        and (entry.get("operator", "Equal") == "Exists" or entry.get("value", "") == taint.get("value", ""))
        for entry in tolerations
    )


def _of_step(wanted: Resources) -> Demand:
    return Demand(
        cpu=cores(wanted.cpu),
        memory=octets(wanted.memory),
        gpus=wanted.gpus,
        gpu_type=wanted.gpu_type,
        selector=tuple(sorted(wanted.node_selector.items())),
        tolerations=tuple(tuple(entry.model_dump(exclude_none=True).items()) for entry in wanted.tolerations),
    )


def _of_job(wanted: TrainJobConfig, processes: int, pods: int) -> Demand:
    return Demand(
        cpu=cores(wanted.cpu),
        memory=octets(wanted.memory),
        gpus=processes if wanted.gpus is None else wanted.gpus,
        gpu_type=wanted.gpu_type,
        selector=tuple(sorted(wanted.node_selector.items())),
        tolerations=tuple(tuple(entry.items()) for entry in wanted.tolerations),
        pods=pods,
    )


def _overview(items: list[Mapping[str, Any]], gpu_types: set[str]) -> str:
    """Number of nodes, and of GPUs by what the nodes call their product."""
    gpus: dict[str, int] = {}
    for node in items:
        labels = node["metadata"].get("labels") or {}
        for kind in sorted(gpu_types):
            count = int(((node.get("status") or {}).get("allocatable") or {}).get(kind, 0))
            if count:
                product = labels.get(f"{kind}.product", kind)
                gpus[product] = gpus.get(product, 0) + count
    said = ", ".join(f"{count} x {product}" for product, count in gpus.items()) or "no GPU"
    return f"{len(items)} nodes, {said}"


def _way_out(items: list[Mapping[str, Any]], demand: Demand) -> str:
    """What keeps the pod off the node that comes nearest."""
    found = [(obstacles(node, demand), str(node["metadata"]["name"])) for node in items]
    near = min(found, default=([], ""), key=lambda entry: len(entry[0]))
    if not near[0]:
        return f"add nodes: {demand.pods} have to run at the same time, or ask for fewer by launch.nodes"
    ways = "ask for less in cluster.steps"
    if any(text.startswith("taint") for text in near[0]):
        ways = "put up with the taint by cluster.gpu_nodes.tolerations"
    elif any(text.startswith("not ") for text in near[0]):
        ways = "correct node_selector"
    return f"{near[1]} comes nearest and has {', '.join(near[0])}: {ways}, or add a node"

"""What a cluster needs to know about a run: images, resources, storage, secrets. Ignored by a local run."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from model.config import Config
from pipelines.quantities import NO_LIMIT, Cpu, CpuLimit, Labels, Memory, MemoryLimit, Name, Variable, cores, octets

HOME_MOUNT = "/var/lib/omnivec"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a mount point, not a file of ours
RUN_ID_LABEL = "pipeline/runid"  # that Kubeflow Pipelines puts on every pod of a run

# Which image a component runs in: the smallest target of infra/images/Containerfile that holds what it needs. Target
# ``pipeline`` holds everything, ``serve`` is for no step.
TARGETS = {
    "validate": "data",
    "audit": "data",
    "init_model": "train",
    "features": "train",
    "train": "train",
    "mine": "train",
    "soup": "train",
    "evaluate": "train",
    "export": "train",
    "register": "train",
    "serve_check": "pipeline",
    "gate": "train",
    "drift": "pipeline",
    "report": "data",
}
STAGES = ("align", "finetune", "distill", "mine", "soup")
TRAINING = ("align", "finetune", "distill")

# Steps that act on the world outside their outputs (registry, a live server) run every time, everywhere.
ACTING = frozenset({"register", "serve_check", "gate", "drift", "report"})


def known_step(name: str) -> str:
    """A name that a step can have, as ``train`` or ``train-finetune-2``; else ValueError with the nearest one."""
    known = [*TARGETS, *(f"train-{kind}" for kind in TRAINING)]
    if name in known or re.sub(r"-\d+$", "", name) in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    raise ValueError(f"no step is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else f": {known}"))


StepName = Annotated[str, AfterValidator(known_step)]


class Toleration(Config):
    """A taint of nodes that a pod puts up with."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    seconds: int | None = Field(None, ge=0, description="how long; for NoExecute")

    @model_validator(mode="after")
    def _value_fits_operator(self) -> Self:
        if (self.operator == "Equal") != (self.value is not None):
            raise ValueError(f"operator {self.operator} {'needs' if self.operator == 'Equal' else 'takes no'} value")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("operator Equal needs key")
        return self


class NodeMatch(Config):
    """A condition on a label of a node."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = "In"
    values: tuple[str, ...] = ()


class NodeTerm(Config):
    """Conditions that a node meets together; one of several terms is enough."""

    match: tuple[NodeMatch, ...] = Field(min_length=1)
    weight: int | None = Field(None, ge=1, le=100, description="preferred with this weight; required when empty")


class Placement(Config):
    """Which nodes."""

    node_selector: Labels = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    affinity: tuple[NodeTerm, ...] = ()


class Resources(Placement):
    """One step. What an entry of ``cluster.steps`` leaves out is taken from ``cluster.default``."""

    cpu: Cpu = "2"
    cpu_limit: CpuLimit | None = Field(None, description="as much as is requested when empty; 'none' for no limit")
    memory: Memory = "8Gi"
    memory_limit: MemoryLimit | None = Field(None, description="as much as is requested when empty; 'none': no limit")
    gpu_type: str = "nvidia.com/gpu"
    gpus: int = Field(0, ge=0)
    shared_memory: Memory | None = Field(None, description="size of /dev/shm; data loader workers need over 64 MiB")
    retries: int | None = Field(None, ge=0, description="cluster.retries when empty")
    timeout_minutes: float | None = Field(None, gt=0, description="of one attempt, from the start of its pod")
    cache: bool | None = Field(None, description="false: computed in every run")
    labels: Labels = Field(default_factory=dict, description="of the pod")
    annotations: dict[str, str] = Field(default_factory=dict, description="of the pod")

    def limits(self) -> tuple[str | None, str | None]:
        """Limits of processors and memory; None for no limit."""
        cpu, memory = self.cpu_limit or self.cpu, self.memory_limit or self.memory
        return None if cpu == NO_LIMIT else cpu, None if memory == NO_LIMIT else memory

    def problems(self) -> list[str]:
        """Limits below what is requested."""
        cpu, memory = self.limits()
        found = [f"cpu_limit {cpu} is below cpu {self.cpu}"] if cpu and cores(cpu) < cores(self.cpu) else []
        if memory and octets(memory) < octets(self.memory):
            found.append(f"memory_limit {memory} is below memory {self.memory}")
        if self.shared_memory and memory and octets(self.shared_memory) > octets(memory):
            found.append(f"shared_memory {self.shared_memory} counts as memory, and the limit of that is {memory}")
        return found


class Mounted(Config):
    """Values of a Secret or ConfigMap for steps, as variables, as files or both."""

    name: Name
    env: dict[Variable, str] = Field(default_factory=dict, description="variable: key in the object")
    mount: str | None = Field(None, pattern="^/", description="directory with a file for each key")
    optional: bool = Field(False, description="whether a step may start without it")
    steps: tuple[StepName, ...] = Field((), description="steps or components that get it; all when empty")

    @model_validator(mode="after")
    def _is_used(self) -> Self:
        if not self.env and self.mount is None:
            raise ValueError(f"{self.name!r} is given to nobody: set env, mount or both")
        return self

    def wanted(self, step: str, component: str) -> bool:
        """Whether a step gets it."""
        return not self.steps or step in self.steps or component in self.steps


class Security(Config):
    """Who the process of a step is. Kubeflow Pipelines drops all privileges itself."""

    run_as_user: int = Field(10001, ge=1, description="10001 is that of our images")
    run_as_group: int = Field(10001, ge=1)


class Images(Config):
    """Images of ``infra/images`` by target; ``cluster.image`` where one is left out."""

    data: str | None = None
    train: str | None = None
    pipeline: str | None = None


class ClusterConfig(Config):
    """Where the compiled pipeline runs.

    Attributes:
        image: container image with this project installed; give a digest, a tag that moves does not reset the cache.
        images: images that hold only what their components need.
        pull_policy: when nodes ask the registry for an image.
        pull_secrets: Secrets for that registry.
        namespace: Kubernetes namespace of the runs; in Kubeflow with several users that of the profile.
        service_account: of the pods; when empty that of Kubeflow Pipelines (``default-editor`` or ``pipeline-runner``).
        home_claim: PersistentVolumeClaim mounted as ``OMNIVEC_HOME``, for weights, checkpoints and summaries that
            outlive a pod and a run.
        tracking_uri: MLflow address; leave empty where Kubeflow's MLflow plugin sets it.
        env: variables of every step.
        secrets: Secrets, such as the credentials of MLflow and of the object store.
        config_maps: ConfigMaps, likewise.
        security: user and group of the processes; null leaves them to the image and the cluster.
        queue: Kueue's LocalQueue for the TrainJobs, whose nodes then start together or not at all.
        priority: Kueue's WorkloadPriorityClass for the TrainJobs; one may make those of a lower value end and wait.
        gpu_nodes: where steps with GPUs and the nodes of TrainJobs go, besides what they ask for themselves.
        default: resources of a step without an entry of its own.
        steps: by step name (``train-finetune``) or component name (``train``); both apply, the step's on top.
        retries: how often a failed step is tried again.
        retry_seconds: wait before the first retry.
        retry_factor: by which the wait grows.
        retry_seconds_max: up to here.
        deadline_hours: of a whole run.
        keep_hours: how long pods and workflow of an ended run are kept; their logs go with them.
    """

    image: str = "omnivec-pipeline:0.1.0"
    images: Images = Images()
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[Name, ...] = ()
    namespace: Name = "kubeflow"
    service_account: Name | None = None
    home_claim: Name | None = None
    tracking_uri: str | None = None
    env: dict[Variable, str] = Field(default_factory=dict)
    secrets: tuple[Mounted, ...] = ()
    config_maps: tuple[Mounted, ...] = ()
    security: Security | None = Security()
    queue: Name | None = None
    priority: Name | None = None
    gpu_nodes: Placement = Placement()
    default: Resources = Resources()
    steps: dict[StepName, Resources] = Field(default_factory=dict)
    retries: int = Field(0, ge=0)
    retry_seconds: int = Field(60, ge=1)
    retry_factor: float = Field(2.0, ge=1)
    retry_seconds_max: int = Field(3600, ge=1)
    deadline_hours: float | None = Field(None, gt=0)
    keep_hours: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if problems := [*self._limits(), *self._variables(), *self._caching()]:
            raise ValueError("; ".join(problems))
        return self

    def resources(self, step: str, component: str) -> Resources:
        """Resources of a step: the default, over it its component's entry, over that its own."""
        entries = [self.default, self.steps.get(component)]
        entries += [self.steps.get(step)] if step != component else []
        given: dict[str, Any] = {}
        for entry in entries:
            if entry is not None:
                given |= {name: getattr(entry, name) for name in entry.model_fields_set}
        wanted = Resources(**given)
        return self.on_gpu_nodes(wanted) if wanted.gpus else wanted

    def on_gpu_nodes(self, wanted: Resources) -> Resources:
        """The same on the nodes with GPUs."""
        nodes = self.gpu_nodes
        return wanted.model_copy(
            update={
                "node_selector": {**nodes.node_selector, **wanted.node_selector},
                "tolerations": tuple(dict.fromkeys((*nodes.tolerations, *wanted.tolerations))),
                "affinity": (*nodes.affinity, *wanted.affinity),
            }
        )

    def image_of(self, component: str) -> str:
        """Image of a component."""
        return str(getattr(self.images, TARGETS[component]) or self.image)

    def image_of_launcher(self) -> str:
        """Image of a step that starts a TrainJob: it needs the client of Kubeflow Trainer, the nodes do not."""
        return self.images.pipeline or self.image

    def all_images(self) -> list[str]:
        """Every image that steps run in."""
        return list(dict.fromkeys(self.image_of(component) for component in TARGETS))

    def claims(self) -> dict[str, Mapping[str, tuple[str, ...]]]:
        """Keys that the steps need of each object: ``{"Secret": {name: keys}, "ConfigMap": {...}}``."""
        wanted = {"Secret": self.secrets, "ConfigMap": self.config_maps}
        return {
            kind: {entry.name: tuple(entry.env.values()) for entry in entries if not entry.optional}
            for kind, entries in wanted.items()
        }

    def _limits(self) -> list[str]:
        names = {"default": self.default} | {f"steps.{n}": self.resources(n, n.partition("-")[0]) for n in self.steps}
        return [f"{name}: {problem}" for name, resources in names.items() for problem in resources.problems()]

    def _variables(self) -> list[str]:
        sources: dict[str, list[str]] = {name: ["env"] for name in self.env}
        if self.tracking_uri:
            sources.setdefault("MLFLOW_TRACKING_URI", []).append("tracking_uri")
        for kind, entries in (("secrets", self.secrets), ("config_maps", self.config_maps)):
            for entry in entries:
                for variable in entry.env:
                    sources.setdefault(variable, []).append(f"{kind}.{entry.name}")
        return [f"{name} is set by {' and by '.join(by)}" for name, by in sources.items() if len(by) > 1]

    def _caching(self) -> list[str]:
        names = [name for name, entry in self.steps.items() if entry.cache and name.partition("-")[0] in ACTING]
        return [
            f"steps.{name}.cache: the step acts on the registry or on a server, it runs every time" for name in names
        ]

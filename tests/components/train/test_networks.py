"""Two nodes on two networks: what they say goes over a cable, and one that is killed costs its last steps only."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.train.job import Job
from components.train.launch import launch
from model.training.history import History
from tests.components.train.cluster import ROOT, Cluster
from tests.components.train.networks import CABLE, Host, two_hosts
from tests.components.train.test_trainjob import connect, paths, wanted
from tests.components.train.together import alone, config, same_weights, weights

pytestmark = [pytest.mark.minutes, pytest.mark.timeout(600)]
STEPS, PORT = 20, 29400


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as made:
        yield made


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


def test_hosts_see_each_other_and_nothing_else(hosts) -> None:
    def reaches(host: Host, address: str) -> bool:
        code = f"import socket; socket.create_connection(({address!r}, {PORT}), 2)"
        return (
            subprocess.run(host.command(sys.executable, "-c", code), capture_output=True, check=False).returncode == 0
        )

    one, two = hosts
    code = f"import socket, time; s = socket.create_server(('', {PORT})); print('up', flush=True); time.sleep(60)"
    listener = subprocess.Popen(one.command(sys.executable, "-c", code), stdout=subprocess.PIPE)
    try:
        assert listener.stdout
        assert listener.stdout.readline() == b"up\n"
        assert reaches(two, one.address)
        assert reaches(one, "127.0.0.1")
        assert not reaches(two, "127.0.0.1"), "as on two machines, loopback is each one's own"
    finally:
        listener.kill()
        listener.wait()


def test_a_job_of_which_a_node_dies_is_started_again_and_goes_on(
    hosts, mixed, still, volume, tmp_path, monkeypatch
) -> None:
    alone(config(1, steps=STEPS), mixed, still, tmp_path / "one")
    killed: list[int] = []
    before = [host.sent() for host in hosts]
    with Cluster(tmp_path, hosts=hosts) as cluster:
        connect(cluster, monkeypatch)

        def sink(scalars: dict[str, float], step: int) -> None:
            if step >= 3 and not killed:
                killed.append(step)
                hosts[1].lose_power()

        there = paths(mixed, still, volume, tmp_path)
        result = launch(wanted(volume, retries=1, steps=STEPS), sinks=[sink], **there)
    assert len(cluster.received) == 2
    assert 0 < result["resumed_from"] < STEPS
    assert result["steps"] == STEPS
    assert all(host.sent() - sent > 100_000 for host, sent in zip(hosts, before, strict=True)), "over the cable"
    one, two = (History(w).rows() for w in (tmp_path / "one/checkpoints", volume / "checkpoints/0123456789abcdef"))
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-3)
    same_weights(weights(tmp_path / "one/model"), weights(tmp_path / "out"), weights(still), rough=1.0)


class Agents:
    """``torchrun`` on both hosts, which meet at the first and wait for each other again after a loss."""

    def __init__(self, hosts: tuple[Host, Host], job: Path, logs: Path) -> None:
        self.hosts, self.job, self.logs = hosts, job, logs
        self.agents = [self._start(0), self._start(1)]

    def _start(self, node: int) -> subprocess.Popen[bytes]:
        run = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--max-restarts=3"]
        meet = ["--rdzv-backend=c10d", f"--rdzv-endpoint={self.hosts[0].address}:{PORT}", "--rdzv-id=job"]
        meet.append(f"--rdzv-conf=is_host={int(node == 0)}")  # guessed from the host's name otherwise
        own = [f"--local-addr={self.hosts[node].address}", "-m", "components.train.worker", str(self.job)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": CABLE}
        env["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = (
            "1"  # else a newcomer waits for what is said in the first round only
        )
        with (self.logs / f"node-{node}.log").open("ab") as log:
            return subprocess.Popen(
                self.hosts[node].command(*run, *meet, *own),
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def lose(self, node: int) -> None:
        """The host loses power, and comes back."""
        self.hosts[node].lose_power()
        self.agents[node].wait(10)
        self.agents[node] = self._start(node)


def test_a_node_that_is_killed_and_comes_back_joins_the_job_that_waits_for_it(hosts, mixed, still, tmp_path) -> None:
    settings = {"steps": STEPS}
    alone(config(1, **settings), mixed, still, tmp_path / "one")
    two = tmp_path / "two"
    places = {"dataset": mixed, "model": still, "features": None, "checkpoints": two / "checkpoints"}
    job = Job(tmp_path / "job")
    job.write(config(1, **settings), {**places, "output": two / "model"})
    agents = Agents(hosts, job.directory, tmp_path)
    history, lost = History(two / "checkpoints"), False
    until = time.monotonic() + 400
    while not all(agent.poll() == 0 for agent in agents.agents):
        assert time.monotonic() < until, (tmp_path / "node-0.log").read_text()[-3000:]
        if not lost and len(history.rows()) >= 5:
            agents.lose(1)
            lost = True
        time.sleep(0.1)
    assert lost
    result = job.result()
    assert 0 < result["resumed_from"] < STEPS, "the node that lived gave up its step and went on from a checkpoint"
    rows = [[row["loss"] for row in History(w / "checkpoints").rows()] for w in (tmp_path / "one", two)]
    assert rows[1] == pytest.approx(rows[0], rel=1e-3)
    same_weights(weights(tmp_path / "one/model"), weights(two / "model"), weights(still), rough=1.0)

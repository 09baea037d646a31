"""A Kubernetes API on this machine that knows just enough of Kubeflow Trainer: its nodes are real processes.

It answers what the client of the kubeflow SDK asks over HTTP, refuses a TrainJob that the models of the SDK refuse, and
starts each node as Trainer would: with the command of the job and the ``PET_*`` variables.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import psutil
import yaml
from kubeflow_trainer_api import models

from tests.components.train.networks import CABLE, Host
from tests.loopback import Loopback

ROOT = Path(__file__).resolve().parents[3]
TRAINJOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs"
RUNTIME = "/apis/trainer.kubeflow.org/v1alpha1/clustertrainingruntimes/omnivec-torch"
PODS = "/api/v1/namespaces/team/pods"
CREATED = "2026-01-01T00:00:00Z"


class Cluster(Loopback):
    """Its jobs; use it as a context, then ``address`` is where it answers.

    Args:
        directory: for the logs of the nodes.
        command: what nodes run instead of what the job says.
        forbidden: refuse jobs, as where a role is missing.
        hosts: where each node runs; all on this host when empty.
    """

    def __init__(
        self,
        directory: Path,
        *,
        command: list[str] | None = None,
        forbidden: bool = False,
        hosts: Sequence[Host] = (),
    ) -> None:
        self.directory = directory
        self.command = command
        self.forbidden = forbidden
        self.hosts = hosts
        self.jobs: dict[str, dict[str, Any]] = {}
        self.nodes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.received: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.broken = 0
        self.runtime = yaml.safe_load((ROOT / "infra/runtimes/omnivec-torch.yaml").read_text())
        super().__init__(_Handler, cluster=self)

    def __exit__(self, *_: object) -> None:
        for name in list(self.nodes):
            self.delete(name)
        super().__exit__()

    def create(self, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.forbidden:
            return 403, {"kind": "Status", "message": "trainjobs is forbidden", "reason": "Forbidden"}
        self.received.append(document)
        job = models.TrainerV1alpha1TrainJob.from_dict(document)
        assert job.to_dict() == document, "a field that the API does not know"
        name = job.metadata.name
        document["metadata"] |= {"namespace": "team", "creationTimestamp": CREATED}
        self.jobs[name] = document
        self.nodes[name] = [self._start(job, node) for node in range(job.spec.trainer.num_nodes)]
        return 201, document

    def _start(self, job: Any, node: int) -> subprocess.Popen[bytes]:
        if node == 0:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        injected = {"PET_NNODES": job.spec.trainer.num_nodes, "PET_NODE_RANK": node, "PET_MASTER_PORT": self.port}
        first = self.hosts[0].address if self.hosts else "127.0.0.1"
        injected |= {"PET_MASTER_ADDR": first, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": 1}
        if self.hosts:
            injected["GLOO_SOCKET_IFNAME"] = CABLE  # else gloo asks a name server for the address of the host's name
        env = {
            **os.environ,
            **{e.name: e.value for e in job.spec.trainer.env},
            **{k: str(v) for k, v in injected.items()},
        }
        command = self.command or job.spec.trainer.command
        if command[0] == "torchrun":
            command = [sys.executable, "-m", "torch.distributed.run", *command[1:]]
        if self.hosts:
            command = self.hosts[node].command(*command)
        log = (self.directory / f"{job.metadata.name}-{node}-{len(self.received)}.log").open("wb")
        return subprocess.Popen(
            command, env=env, stdout=log, stderr=subprocess.STDOUT, cwd=self.directory, start_new_session=True
        )

    def delete(self, name: str) -> tuple[int, dict[str, Any]]:
        if name not in self.jobs:
            return 404, {"reason": "NotFound"}
        self.deleted.append(name)
        for node in self.nodes[name]:
            if node.poll() is None:
                node.send_signal(signal.SIGTERM)
        for node in self.nodes.pop(name):
            node.wait(60)
        del self.jobs[name]
        return 200, {}

    def job(self, name: str) -> tuple[int, dict[str, Any]]:
        if name not in self.jobs:
            return 404, {"reason": "NotFound"}
        codes = [node.poll() for node in self.nodes[name]]
        kind = "Failed" if any(codes) else "Complete" if codes == [0] * len(codes) else None
        if kind is None:
            return 200, self.jobs[name]
        if kind == "Failed":
            for node in self.nodes[name]:  # as the JobSet does
                _kill_all(node.pid)
            for host in self.hosts:
                host.lose_power()  # also what an agent that is gone left behind
        condition = {"type": kind, "status": "True", "reason": "x", "message": "y", "lastTransitionTime": CREATED}
        return 200, {**self.jobs[name], "status": {"conditions": [condition]}}

    def pods(self, name: str) -> dict[str, Any]:
        items = []
        for number, node in enumerate(self.nodes.get(name, ())):
            code = node.poll()
            phase = "Running" if code is None else "Failed" if code else "Succeeded"
            labels = {
                "jobset.sigs.k8s.io/replicatedjob-name": "node",
                "batch.kubernetes.io/job-completion-index": str(number),
            }
            metadata = {"name": f"{name}-{number}", "creationTimestamp": CREATED, "labels": labels}
            items.append({"metadata": metadata, "spec": {"containers": [{"name": "node"}]}, "status": {"phase": phase}})
        return {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}

    def log(self, pod: str, follow: bool) -> Any:
        """Lines of the present attempt's node, to its end where they are followed."""
        name, _, node = pod.rpartition("-")
        process = self.nodes[name][int(node)]
        with (self.directory / f"{pod}-{len(self.received)}.log").open("rb") as file:
            while True:
                over = process.poll() is not None or not follow
                yield from file
                if over:
                    return
                time.sleep(0.05)


def _kill_all(agent: int) -> None:
    """Kill an agent with its workers, which have sessions of their own."""
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(agent)
        for process in (*first.children(recursive=True), first):
            with suppress(psutil.NoSuchProcess):
                process.kill()


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster

    def do_GET(self) -> None:
        url, cluster = urlparse(self.path), self.cluster
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if cluster.broken and url.path.startswith(TRAINJOBS):
            cluster.broken -= 1
            return self._answer(500, {"reason": "InternalError"})
        if url.path == RUNTIME:
            return self._answer(200, cluster.runtime)
        if url.path.startswith(f"{TRAINJOBS}/"):
            return self._answer(*cluster.job(url.path.rpartition("/")[2]))
        if url.path == PODS:
            found = re.match(r"jobset.sigs.k8s.io/jobset-name=([^,]+),", query["labelSelector"])
            assert found
            return self._answer(200, cluster.pods(found[1]))
        if url.path.startswith(f"{PODS}/") and url.path.endswith("/log"):
            self.send_response(200)
            self.end_headers()
            for line in cluster.log(url.path.split("/")[-2], "follow" in query):
                self.wfile.write(line)
                self.wfile.flush()
            return None
        return self._answer(404, {"reason": "NotFound"})

    def do_POST(self) -> None:
        assert self.path == TRAINJOBS
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(*self.cluster.create(document))

    def do_DELETE(self) -> None:
        self._answer(*self.cluster.delete(urlparse(self.path).path.rpartition("/")[2]))

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def client(cluster: Cluster) -> Any:
    """The SDK's own client."""
    from kubeflow.common.types import KubernetesBackendConfig
    from kubeflow.trainer import TrainerClient
    from kubernetes.client import Configuration

    settings = Configuration(host=cluster.address)
    return TrainerClient(backend_config=KubernetesBackendConfig(namespace="team", client_configuration=settings))

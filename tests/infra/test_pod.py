"""The containers of the manifests as processes of this machine: their commands, the files they share, a promotion."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from components.environment import Environment
from components.registry import CHAMPION, Candidate, Registry
from components.tracking import step_run
from model.integrity import write_digests
from serving.launch import free_port
from tests.infra.manifests import rendered
from tests.infra.policies import Object, name_of, pods_of

BIN = Path(sys.executable).parent
WAIT_SECONDS = 600.0


def container_of(owner: str, container: str, overlay: str = "local") -> Object:
    [pods] = [pods for pods in pods_of(rendered(overlay)) if pods.owner == owner]
    [found] = [c for _, c, _ in pods.containers() if c["name"] == container]
    return found


def variables_of(owner: str, container: str, overlay: str = "local") -> dict[str, str]:
    """What the manifest sets for a container."""
    return {one["name"]: one["value"] for one in container_of(owner, container, overlay)["env"] if "value" in one}


def arguments(owner: str, container: str, **replaced: str) -> list[str]:
    """The command of a container, with its paths and ports as they are here."""
    command = [str(word) for word in container_of(owner, container)["args"]]
    for old, new in replaced.items():
        command = [word.replace(PLACES[old], new) for word in command]
    return [str(BIN / command[0]), *command[1:]]


PLACES = {
    "state": "/var/lib/omnivec",
    "serving": "/etc/omnivec/serving",
    "database": "$(MLFLOW_BACKEND_STORE_URI)",
    "artifacts": "$(ARTIFACTS)",
    "port": "--port=5000",
    "host": "0.0.0.0",
}


@contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process, for the length of a block."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:  # on a busy machine; what the test found counts
            process.kill()
            process.wait(timeout=60)


def wait_for(url: str, log: Path) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        try:
            if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"{url} does not answer\n{log.read_text()[-3000:]}")


def register(environment: Environment, artifact: Path, results: Path) -> str:
    facts = Candidate(artifact, results, "data", (32, 16), ("text",), {"hit_at_10": 0.5}, {})
    with step_run("register", environment) as run:
        return Registry(environment).register(facts, run)[0]


@pytest.mark.minutes
@pytest.mark.timeout(1800)
def test_a_promotion_reaches_the_pod_and_no_request_is_lost(tiny_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "serving").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results/metrics.json").write_text("{}")
    [settings] = [t for t in rendered("local") if name_of(t) == "ConfigMap/omnivec-serving"]
    port, tracking = free_port(), free_port()
    here = {"backend": "torch", "host": "127.0.0.1", "port": port}
    base = tmp_path / "serving/serving.json"
    base.write_text(json.dumps(json.loads(settings["data"]["serving.json"]) | here))

    server = arguments(
        "Deployment/mlflow",
        "mlflow",
        artifacts=str(tmp_path / "artifacts"),
        port=f"--port={tracking}",
        host="127.0.0.1",
    )
    address = f"http://127.0.0.1:{tracking}"
    database = f"sqlite:///{tmp_path}/mlflow.db"
    subprocess.run(arguments("Deployment/mlflow", "migrate", database=database), check=True, timeout=WAIT_SECONDS)
    variables = variables_of("Deployment/mlflow", "mlflow") | {"MLFLOW_BACKEND_STORE_URI": database}
    with running(server, tmp_path / "mlflow.log", **variables):
        wait_for(f"{address}/health", tmp_path / "mlflow.log")
        said = {
            host: httpx.get(
                f"{address}/api/2.0/mlflow/experiments/get?experiment_id=0", headers={"Host": host}, timeout=120
            ).status_code
            for host in ("mlflow:5000", "mlflow.omnivec.svc.cluster.local:5000", "evil.example")
        }
        assert list(said.values()) == [200, 200, 403], "the allowed hosts, and nobody else"

        environment = Environment(home=tmp_path / "people", tracking_uri=address)
        first = register(environment, tiny_artifact, tmp_path / "results")
        other = tmp_path / "other"
        shutil.copytree(tiny_artifact, other)
        (other / "README.md").write_text("another")
        write_digests(other)
        second = register(environment, other, tmp_path / "results")
        registry = Registry(environment)
        registry.set_alias(CHAMPION, first)

        state = tmp_path / "state"
        fetch = arguments("Deployment/omnivec-serve", "model", state=str(state), serving=str(tmp_path / "serving"))
        serve = [str(BIN / "omnivec"), "serve", "--host", "0.0.0.0", "--foreground"]
        variables = {"OMNIVEC_HOME": str(state), "MLFLOW_TRACKING_URI": address}
        with running(fetch, tmp_path / "fetch.log", **variables):
            until = time.monotonic() + WAIT_SECONDS
            while not (state / "serving.json").exists():
                assert time.monotonic() < until, (tmp_path / "fetch.log").read_text()
                time.sleep(0.2)
            # The service knows its file and nothing of a registry.
            with running(serve, tmp_path / "serve.log", OMNIVEC_SERVING_CONFIG=str(state / "serving.json")):
                url = f"http://127.0.0.1:{port}"
                wait_for(f"{url}/readyz", tmp_path / "serve.log")
                versions: list[str] = []
                registry.promote(second, expected=first)
                until = time.monotonic() + WAIT_SECONDS
                while versions[-1:] != [second]:
                    assert time.monotonic() < until, (tmp_path / "fetch.log").read_text()
                    answer = httpx.post(f"{url}/v1/embeddings", json={"model": "omnivec", "input": "fox"}, timeout=120)
                    assert answer.status_code == 200, answer.text
                    versions.append(answer.headers["X-Omnivec-Version"])
                    time.sleep(0.1)
                assert set(versions) == {first, second}
                assert sorted(versions) == versions, "once the new one answers, the old one does not"
                base.write_text(json.dumps(json.loads(base.read_text()) | {"version": first, "aliases": ["fox"]}))
                until = time.monotonic() + WAIT_SECONDS
                while httpx.get(f"{url}/v1/models", timeout=120).headers.get("X-Omnivec-Version") == second:
                    assert time.monotonic() < until, (tmp_path / "fetch.log").read_text()
                    time.sleep(0.2)
                answer = httpx.post(f"{url}/v1/embeddings", json={"model": "fox", "input": "fox"}, timeout=120)
                assert (answer.status_code, answer.headers["X-Omnivec-Version"]) == (200, first), "the file has the say"

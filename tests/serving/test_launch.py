"""The service as a process: one real boot with BentoML, and the ways in which a start can fail."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import bentoml
import httpx
import numpy as np
import psutil
import pytest

from model.content import Content, audio, image
from model.errors import ConfigError
from serving.capture import read_captures
from serving.client import EmbeddingClient, to_item
from serving.config import CONFIG_VARIABLE, CaptureConfig, RequestLimits, ServingConfig
from serving.errors import LaunchError
from serving.keys import digest_of, new_key
from serving.launch import Server, become, free_port, running, start, stop, wait_ready


def test_an_occupied_port_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LaunchError, match=rf"port {port} on 127.0.0.1 cannot be used .* PORT=\d+ make serve"):
            start(ServingConfig(artifact=tmp_path, port=port), tmp_path / "state")
    assert not (tmp_path / "state").exists(), "nothing may be started or written"


def test_free_ports_can_be_bound() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))


def test_a_process_becomes_the_service_that_a_linked_file_configures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ServingConfig(artifact=tmp_path, port=free_port())
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "serving.json").write_text(config.model_dump_json())
    (tmp_path / "serving.json").symlink_to(tmp_path / "mounted" / "serving.json")
    seen: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *call: seen.append(call))
    become(tmp_path / "serving.json")
    program, command, environment = seen[0]
    assert program == command[0] == sys.executable
    assert command[command.index("--host") :] == ["--host", "127.0.0.1", "--port", str(config.port)]
    assert environment["OMNIVEC_SERVING_CONFIG"] == str(tmp_path / "serving.json"), "a ConfigMap changes by its link"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", config.port))
        taken.listen()
        with pytest.raises(LaunchError, match="port"):
            become(tmp_path / "serving.json")
    assert len(seen) == 1


def _program(tmp_path: Path, code: str) -> Server:
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=sink, stderr=sink, start_new_session=True)
    return Server(process, f"http://127.0.0.1:{free_port()}", log)


def test_a_process_that_ends_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    server = _program(tmp_path, "print('no such model'); raise SystemExit(3)")
    with pytest.raises(LaunchError, match=r"ended with code 3\n.*\n  no such model"):
        wait_ready(server, 10)
    stop(server)


def test_a_process_that_never_gets_ready_is_stopped_with_its_children(tmp_path: Path) -> None:
    child = "import time; time.sleep(60)"
    spawn = f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)"
    code = f"import subprocess, sys, time; print('up', flush=True); {spawn}; time.sleep(60)"
    server = _program(tmp_path, code)
    parent = psutil.Process(server.process.pid)
    while not (family := parent.children()):
        pass
    with pytest.raises(LaunchError, match=r"not ready after 0 s\n.*\n  up"):
        wait_ready(server, 0.3)
    stop(server, timeout_seconds=1)
    assert not psutil.wait_procs([parent, *family], timeout=5)[1]


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="queue_items=4 must be at least items_per_request=8"):
        RequestLimits.parse({"queue_items": 4, "items_per_request": 8})


def test_the_configuration_comes_from_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="is not set"):
        ServingConfig.from_environment()
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match=r"none\.json is not a file"):
        ServingConfig.from_environment()
    path = tmp_path / "serving.json"
    path.write_text(json.dumps({"artifact": "x", "prot": 3000}))
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    with pytest.raises(ConfigError, match="prot: Extra inputs"):
        ServingConfig.from_environment()
    wanted = ServingConfig(artifact=tmp_path, port=3210, capture=CaptureConfig(directory=tmp_path))
    path.write_text(wanted.model_dump_json())
    assert ServingConfig.from_environment() == wanted


@pytest.mark.slow
def test_a_real_service_boots_answers_and_leaves_nothing(
    tmp_path: Path, tiny_artifact: Path, png_bytes: bytes, ogg_bytes: bytes
) -> None:
    key, keys = new_key(), tmp_path / "keys.json"
    scopes = ["embed", "models", "metrics"]
    keys.write_text(json.dumps({"keys": [{"name": "test", "sha256": digest_of(key), "scopes": scopes}]}))
    bearer = {"Authorization": f"Bearer {key}"}
    config = ServingConfig(
        artifact=tiny_artifact,
        backend="torch",
        version="12",
        port=free_port(),
        keys=keys,
        capture=CaptureConfig(directory=tmp_path / "captures", flush_seconds=60),
    )
    contents = [Content.of("hello"), Content.of(image(png_bytes), "and", audio(ogg_bytes))]
    with running(config, tmp_path / "state") as server, EmbeddingClient(server.url, key=key) as client:
        family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
        assert client.embed(contents).vectors_Nd.shape[0] == 2
        assert client.models()[0]["version"] == "12"
        assert httpx.get(f"{server.url}/livez").status_code == 200
        scraped = httpx.get(f"{server.url}/metrics", headers=bearer).text
        for path in ("/metrics", "/schema.json", "/docs.json", "/gallery.json", "/v1/models"):
            assert httpx.get(f"{server.url}{path}").status_code == 401, f"{path} is open"
        native = bentoml.SyncHTTPClient(server.url, token=key)
        rows = native.embed(inputs=["hello", to_item(contents[1])])
        assert np.allclose(rows, client.embed(contents).vectors_Nd, atol=1e-6)
        odd = httpx.post(f"{server.url}/embed", files={"inputs": b"http://127.0.0.1:1/"}, headers=bearer)
        assert odd.json()["error"]["code"] == "unsupported_content_type", "BentoML's parser must not see it"
        refused = httpx.post(f"{server.url}/v1/embeddings", json={"model": "omnivec", "input": [1]}, headers=bearer)
        assert refused.json()["error"]["code"] == "invalid_request", "BentoML's own layers must not answer"
    for sample in (
        'omnivec_items_total{kind="interleaved",outcome="ok"} 1.0',
        'omnivec_phase_seconds_count{kind="text",phase="prepare"} 1.0',
        'omnivec_requests_total{route="/v1/embeddings",status="200"} 1.0',
        'omnivec_tokens_total{modality="audio"}',
    ):
        assert sample in scraped
    assert not [process for process in family if process.is_running()]
    captured = sorted(read_captures(tmp_path / "captures")["kind"].to_pylist())
    assert captured == ["interleaved"] * 3 + ["text"] * 3, "lost at stop"
    log = server.log.read_text()
    assert '"event": "request"' in log
    assert "hello" not in log
    assert key not in log


@pytest.mark.slow
def test_a_damaged_artifact_is_reported_at_once_with_the_reason(tmp_path: Path) -> None:
    config = ServingConfig(artifact=tmp_path, backend="torch", port=free_port())
    with pytest.raises(LaunchError, match="could not load its model") as caught, running(config, tmp_path / "state"):
        pass
    assert "is not a model artifact (no config.json)" in str(caught.value)

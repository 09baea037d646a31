"""Start the service as a process of its own, wait until it is ready, and stop it with all its children."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx
import psutil

from model.files import whole_file
from serving.config import CONFIG_VARIABLE, ServingConfig
from serving.errors import LaunchError
from serving.lifeline import LAUNCHER_VARIABLE

SERVICE = "serving.service:OmnivecService"
ROOT = Path(__file__).resolve().parents[1]
LOG_LINES_SHOWN = 20
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Server:
    """A running service."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path
    ready_seconds: float = 0.0


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def check_port(host: str, port: int) -> None:
    """Refuse an occupied port before anything is started.

    Raises:
        LaunchError: naming the port and the way out.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise LaunchError(
                f"port {port} on {host} cannot be used ({error.strerror}): stop the program that listens there, or "
                f"choose another port, such as PORT={free_port(host)} make serve"
            ) from error


def start(config: ServingConfig, directory: Path, *, foreground: bool = False) -> Server:
    """Start the service; ``directory`` receives its configuration and, unless in the foreground, its log.

    Raises:
        LaunchError: the port is occupied.
    """
    check_port(config.host, config.port)
    config_path, log_path = write_config(config, directory), (directory / "serving.log").resolve()
    environment = {
        **os.environ,
        CONFIG_VARIABLE: str(config_path),
        LAUNCHER_VARIABLE: str(os.getpid()),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str((directory / "bentoml").resolve()),
    }
    log_path.unlink(missing_ok=True)
    with nullcontext() if foreground else log_path.open("wb") as log:
        process = subprocess.Popen(
            command_of(config),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=None if foreground else subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    return Server(process, f"http://{config.host}:{config.port}", log_path)


def become(config_path: Path) -> NoReturn:
    """Turn this process into the service that a file configures, its log on the terminal: for containers.

    Raises:
        ConfigError: the file is no serving configuration.
        LaunchError: the port is occupied.
    """
    config = ServingConfig.parse(config_path)
    check_port(config.host, config.port)
    # The path as given: of a ConfigMap it is a link, which moves when its content changes.
    environment = {"BENTOML_DO_NOT_TRACK": "True", **os.environ, CONFIG_VARIABLE: str(config_path.absolute())}
    os.execve(sys.executable, command_of(config), environment)  # noqa: S606 - a list, no shell


def command_of(config: ServingConfig) -> list[str]:
    """The command of a service that listens where its configuration says."""
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, "--working-dir", str(ROOT)]
    return [*command, "--host", config.host, "--port", str(config.port)]


def write_config(config: ServingConfig, directory: Path) -> Path:
    """Write the configuration file of a service in one move; a running one swaps to the model that it names."""
    path = (directory / "serving.json").resolve()
    with whole_file(path) as partial:
        partial.write_text(config.model_dump_json(indent=2), encoding="utf-8")
    return path


def wait_ready(server: Server, timeout_seconds: float = 240.0) -> None:
    """Wait until ``/readyz`` answers 200.

    Raises:
        LaunchError: the process ended, its model could not be loaded, or time is over; with the last log lines.
    """
    deadline = time.monotonic() + timeout_seconds
    with httpx.Client(base_url=server.url, timeout=2.0, trust_env=False) as client:
        while time.monotonic() < deadline:
            if server.process.poll() is not None:
                raise LaunchError(f"the service ended with code {server.process.returncode}\n{tail(server.log)}")
            ready, alive = _status(client, "/readyz"), _status(client, "/livez")
            if ready == 200:
                return
            if alive == 503:
                raise LaunchError(f"the service could not load its model\n{tail(server.log)}")
            time.sleep(POLL_SECONDS)
    raise LaunchError(f"the service was not ready after {timeout_seconds:.0f} s\n{tail(server.log)}")


def stop(server: Server, timeout_seconds: float = 20.0) -> None:
    """Stop the server and its workers: politely first, so that captures are written; by force after the timeout.

    BentoML puts its workers into process groups of their own, so the tree is followed instead of the group.
    """
    family = _family(server.process.pid)
    server.process.terminate()
    _, alive = psutil.wait_procs(family, timeout=timeout_seconds)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    server.process.wait(timeout=5)


@contextmanager
def running(
    config: ServingConfig, directory: Path, *, timeout_seconds: float = 240.0, foreground: bool = False
) -> Iterator[Server]:
    """A ready service for the length of a ``with`` block."""
    started = time.monotonic()
    server = start(config, directory, foreground=foreground)
    try:
        wait_ready(server, timeout_seconds)
        yield Server(server.process, server.url, server.log, ready_seconds=time.monotonic() - started)
    finally:
        stop(server)


def tail(log: Path, lines: int = LOG_LINES_SHOWN) -> str:
    """The last lines of a log, introduced by its name."""
    if not log.is_file():
        return "its log is above"
    shown = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return "\n".join([f"last lines of {log}:", *(f"  {line}" for line in shown)])


def _status(client: httpx.Client, path: str) -> int | None:
    try:
        return client.get(path).status_code
    except httpx.TransportError:
        return None


def _family(pid: int) -> list[psutil.Process]:
    """The process and all that descend from it; empty when it has ended."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []

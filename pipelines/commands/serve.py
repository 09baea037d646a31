"""``omnivec serve``: a registered version behind the service, and of an alias always the version that it names."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands.options import Version

if TYPE_CHECKING:
    from serving.config import ServingConfig

LOOK_SECONDS = 5.0


def serve(
    port: Annotated[int, typer.Option(envvar="PORT", help="Port to listen on.")] = 3000,
    model: Version = "champion",
    backend: Annotated[str, typer.Option(help="onnx or torch.")] = "onnx",
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs --keys.")] = "127.0.0.1",
    keys: Annotated[Path | None, typer.Option(help="File of API keys; see `omnivec keys`.")] = None,
    anonymous: Annotated[bool, typer.Option(help="Let everyone in, also from other machines.")] = False,
) -> None:
    """Serve a registered version until interrupted.

    Of an alias the version that it names: when it moves on, the new version takes over without a request lost.
    """
    from components.environment import Environment
    from components.registry import Registry
    from serving.config import CaptureConfig, ServingConfig
    from serving.launch import running

    environment = Environment.from_env()
    registry = Registry(environment)
    state = environment.home / "serving"

    def config_of(version: str) -> ServingConfig:
        return ServingConfig.parse(
            {
                "artifact": registry.fetch(version),
                "version": version,
                "backend": backend,
                "host": host,
                "port": port,
                "keys": keys.resolve() if keys else None,
                "anonymous": anonymous,
                "capture": CaptureConfig(directory=environment.home / "captures" / version),
            }
        )

    version = str(registry.resolve(model).version)
    config = config_of(version)
    typer.echo(f"starting {registry.name} version {version} ({backend}) on port {port} ...", err=True)
    with running(config, state) as server:
        typer.echo(
            f"ready after {server.ready_seconds:.1f} s: {server.url}/v1/embeddings  (log: {server.log})", err=True
        )
        follow = follower(lambda: registry.aliases().get(model, version), version, config_of, state)
        _until_interrupted(server.process, follow)


def follower(
    named: Callable[[], str], served: str, config_of: "Callable[[str], ServingConfig]", state: Path
) -> Callable[[], None]:
    """A function to call now and then, which gives the running service its new configuration when the version changes.

    Args:
        named: tells the version that should be served.
        served: the version that is.
        config_of: configuration of a version.
        state: directory of the running service.
    """
    from model.errors import OmnivecError
    from serving.launch import write_config

    seen = served

    def look() -> None:
        nonlocal served, seen
        now = named()
        if now == seen:
            return
        seen = now  # told once, also where it fails
        try:
            write_config(config_of(now), state)
            typer.echo(f"version {now} takes over from {served}", err=True)
            served = now
        except OmnivecError as error:
            typer.echo(f"version {now} cannot be served, {served} goes on: {error}", err=True)

    return look


def _until_interrupted(process: Any, look: Callable[[], None]) -> None:
    """Wait for the server, looking up now and then; Ctrl-C and SIGTERM end it in order, its own end is an error."""
    from serving.errors import LaunchError

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        while True:
            try:
                code = process.wait(timeout=LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                look()
            else:
                break
    except KeyboardInterrupt:
        typer.echo("stopping ...", err=True)
        return
    raise LaunchError(f"the service ended by itself with code {code}")

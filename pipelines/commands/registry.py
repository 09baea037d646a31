"""Commands on registered versions: serve, promote, rollback."""

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.commands.options import Version


def serve(
    port: Annotated[int, typer.Option(envvar="PORT", help="Port to listen on.")] = 3000,
    model: Version = "champion",
    backend: Annotated[str, typer.Option(help="onnx or torch.")] = "onnx",
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs --keys.")] = "127.0.0.1",
    keys: Annotated[Path | None, typer.Option(help="File of API keys; see `omnivec keys`.")] = None,
    anonymous: Annotated[bool, typer.Option(help="Let everyone in, also from other machines.")] = False,
) -> None:
    """Serve a registered version until interrupted."""
    from components.environment import Environment
    from components.registry import Registry
    from serving.config import CaptureConfig, ServingConfig
    from serving.launch import running

    environment = Environment.from_env()
    registry = Registry(environment)
    version = str(registry.resolve(model).version)
    config = ServingConfig.parse(
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
    typer.echo(f"starting {registry.name} version {version} ({backend}) on port {port} ...", err=True)
    with running(config, environment.home / "serving") as server:
        typer.echo(
            f"ready after {server.ready_seconds:.1f} s: {server.url}/v1/embeddings  (log: {server.log})", err=True
        )
        _until_interrupted(server.process)


def promote(
    version: Annotated[str, typer.Argument(help="Version number or alias, such as 3 or challenger.")],
) -> None:
    """Make a version champion; the old champion becomes previous."""
    from components.environment import Environment
    from components.registry import CHAMPION, Registry

    registry = Registry(Environment.from_env())
    before = registry.aliases().get(CHAMPION)
    chosen = str(registry.resolve(version).version)
    registry.promote(chosen, expected=before)
    typer.echo(f"champion: version {chosen} (before: {before or 'none'})")


def rollback() -> None:
    """Make the previous champion champion again."""
    from components.environment import Environment
    from components.registry import Registry

    now, then = Registry(Environment.from_env()).rollback()
    typer.echo(f"champion: version {then} (before: {now})")


def _until_interrupted(process: Any) -> None:
    """Wait for the server; Ctrl-C and SIGTERM end it in order, its own end is an error."""
    from serving.errors import LaunchError

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        typer.echo("stopping ...", err=True)
        return
    raise LaunchError(f"the service ended by itself with code {code}")

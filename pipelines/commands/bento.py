"""``omnivec bento``: a registered version, or an artifact, as a Bento that runs without this project beside it."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Version


def bento(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to make, or an archive: .bento, .tar, .tar.gz, .zip.")
    ],
    model: Version = "champion",
    artifact: Annotated[
        Path | None, typer.Option(help="Directory of an exported artifact instead of a registered version.")
    ] = None,
    backend: Annotated[str, typer.Option(help="onnx or torch.")] = "onnx",
    wheel: Annotated[Path | None, typer.Option(help="Wheel of Omnivec; default: this code's own.")] = None,
) -> None:
    """Build a Bento: model, code and exact requirements in one folder or archive."""
    from serving.bento import EXTRAS, build_bento

    if backend not in EXTRAS:
        raise typer.BadParameter(f"{backend!r} is not one of {', '.join(EXTRAS)}", param_hint="--backend")
    chosen, version = (artifact, artifact_version(artifact)) if artifact else registered(model)
    tag = build_bento(chosen, output, version=version, backend=backend, wheel=wheel)
    folder = output if output.is_dir() else f"$(bentoml get {tag} -o path)"
    typer.echo(f"built {tag} from {chosen}: {output}\nwhere it shall run:", err=True)
    if not output.is_dir():
        typer.echo(f"  bentoml import {output}", err=True)
    typer.echo(f"  (cd {folder}/src && pip install -r ../env/python/requirements.txt)", err=True)
    typer.echo(f"  OMNIVEC_KEYS=$PWD/keys.json bentoml serve {folder}", err=True)


def registered(model: str) -> tuple[Path, str]:
    """Verified artifact and number of a registered version."""
    from components.environment import Environment
    from components.registry import Registry

    registry = Registry(Environment.from_env())
    version = str(registry.resolve(model).version)
    return registry.fetch(version), version


def artifact_version(artifact: Path) -> str:
    """What an artifact outside the registry is called: its digest."""
    from model.integrity import artifact_digest

    return artifact_digest(artifact)

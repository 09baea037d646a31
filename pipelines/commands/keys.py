"""``omnivec keys``: make, list and remove API keys of the service."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="API keys of the service: make, list, remove.", no_args_is_help=True)

File = Annotated[Path, typer.Option("--file", "-f", help="File of keys; holds digests only.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the caller; it stands in the log.")],
    file: File = Path("keys.json"),
    scope: Annotated[list[str] | None, typer.Option(help="embed, models, metrics; default: the first two.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    items_in_flight: Annotated[int | None, typer.Option(min=1)] = None,
) -> None:
    """Make a key and print it, once: the file keeps its digest. A running service takes it within seconds."""
    from serving.keys import digest_of, new_key

    key = new_key()
    limits = {"requests_per_minute": requests_per_minute, "items_in_flight": items_in_flight}
    entry = {"name": name, "sha256": digest_of(key), **({"scopes": scope} if scope else {}), **limits}
    _write(file, [*_read(file), entry])
    typer.echo(f"added {name!r} to {file}; the key is shown only now:", err=True)
    typer.echo(key)


@app.command("list")
def list_(file: File = Path("keys.json")) -> None:
    """List names, scopes and limits."""
    for entry in _read(file):
        limits = {name: value for name, value in entry.items() if name not in ("name", "sha256", "scopes") and value}
        typer.echo(f"{entry['name']:24} {entry['scopes']} {limits or ''}".rstrip())


@app.command()
def remove(name: Annotated[str, typer.Argument(help="Name of the key.")], file: File = Path("keys.json")) -> None:
    """Remove a key; a running service refuses it within seconds."""
    from model.errors import ConfigError

    entries = _read(file)
    kept = [entry for entry in entries if entry["name"] != name]
    if len(kept) == len(entries):
        known = ", ".join(str(entry["name"]) for entry in entries) or "no key"
        raise ConfigError(f"{file} has no key {name!r}; it has {known}")
    if not kept:
        raise ConfigError(f"{name!r} is the last key of {file}: delete the file and the service's setting instead")
    _write(file, kept)
    typer.echo(f"removed {name!r} from {file}")


def _read(file: Path) -> list[dict[str, Any]]:
    from serving.keys import KeysFile

    return KeysFile.parse(file).model_dump(mode="json")["keys"] if file.exists() else []


def _write(file: Path, entries: list[dict[str, Any]]) -> None:
    """Check and write in one move, readable by the owner only."""
    from model.files import whole_file
    from serving.keys import KeysFile

    document = KeysFile.parse({"keys": entries})
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as partial:
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(document.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")

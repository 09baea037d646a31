"""``omnivec fetch``: a registered version on this disk, and a service's configuration that names it.

Made for a container beside the service: the service itself then needs neither the registry's address nor its token.
"""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.errors import ConfigError

if TYPE_CHECKING:
    from components.registry import Registry
    from serving.config import ServingConfig

LOOK_SECONDS = 5.0
DEFAULT = "champion"


def fetch(
    config: Annotated[
        Path,
        typer.Option(
            help="Serving configuration without `artifact`; its `version` may be an alias (champion if none)."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the whole configuration.")],
    captures: Annotated[Path | None, typer.Option(help="Capture requests below it, a folder for each version.")] = None,
    follow: Annotated[bool, typer.Option(help="Go on, and write again when alias or configuration change.")] = False,
) -> None:
    """Fetch a registered version and write the configuration of a service that serves it."""
    from components.environment import Environment
    from components.registry import Registry

    environment = Environment.from_env()
    registry = Registry(environment)
    fetcher = Fetcher(registry, config, output, captures)
    if not follow:
        typer.echo(fetcher.look(), err=True)
        return
    keep_looking(fetcher, environment.home / "cache" / "models")


class Fetcher:
    """Writes the configuration of a service when what it should serve has changed.

    Args:
        registry: of the versions.
        source: configuration without ``artifact``.
        output: where the whole one goes.
        captures: directory of captures, or None for what the source says.
    """

    def __init__(self, registry: "Registry", source: Path, output: Path, captures: Path | None = None) -> None:
        self.registry = registry
        self.source = source
        self.output = output
        self.captures = captures
        self.versions: list[str] = []
        self._written: ServingConfig | None = None

    def look(self) -> str | None:
        """Write the configuration if it has changed; what was done, for people.

        Raises:
            ConfigError: the source is wrong.
            OmnivecError: the version does not exist, or its files are not those that were registered.
        """
        from model.files import whole_file

        document = self._document()
        version = str(self.registry.resolve(document.get("version", DEFAULT)).version)
        config = self._complete(document, version)
        if config == self._written:
            return None
        with whole_file(self.output) as partial:
            partial.write_text(config.model_dump_json(indent=2), encoding="utf-8")
        self._written = config
        self.versions = [*(known for known in self.versions if known != version), version]
        return f"{self.output}: version {version}, {config.artifact}"

    def _document(self) -> dict[str, Any]:
        try:
            document = json.loads(self.source.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.source} cannot be read as a JSON file: {error}") from error
        if not isinstance(document, dict) or "artifact" in document:
            raise ConfigError(
                f"{self.source} must be a JSON object without `artifact`, which is the folder that the version is "
                "fetched to; name the version instead"
            )
        return document

    def _complete(self, document: dict[str, Any], version: str) -> "ServingConfig":
        from serving.config import ServingConfig

        before = self._written
        # Files are checked against their digests once, when the version is new here.
        known = before is not None and before.version == version
        artifact = before.artifact if before is not None and known else self.registry.fetch(version)
        whole = {**document, "artifact": str(artifact), "version": version}
        if self.captures is not None:
            whole["capture"] = {**(document.get("capture") or {}), "directory": str(self.captures / version)}
        return ServingConfig.parse(json.dumps(whole))


def keep_looking(
    fetcher: Fetcher, folders: Path, wait: Callable[[float], None] = time.sleep, looks: int | None = None
) -> None:
    """Look for ever. A registry that does not answer changes nothing: the service goes on with what it has.

    Args:
        fetcher: what looks.
        folders: where fetched versions lie; all but the present and the one before it are removed.
        wait: sleeps.
        looks: end after so many; None for never.
    """
    said = ""
    while looks is None or looks > 0:
        looks = None if looks is None else looks - 1
        try:
            done = fetcher.look()
            if done is not None:
                typer.echo(done, err=True)
                _remove_old(folders, fetcher.registry.name, fetcher.versions[-2:])
            said = ""
        except Exception as error:  # the registry may be away for a while; said once, until it changes
            if str(error) != said:
                said = str(error)
                typer.echo(f"nothing changed: {error}", err=True)
        wait(LOOK_SECONDS)


def _remove_old(folders: Path, name: str, kept: list[str]) -> None:
    for folder in folders.glob(f"{name}-*"):
        if folder.name.removeprefix(f"{name}-") not in kept:
            shutil.rmtree(folder, ignore_errors=True)

"""Commands on registered versions: promote, rollback."""

from typing import Annotated

import typer


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

"""The command line: its verbs, options and start-up time."""

import resource
import subprocess
import sys
from collections.abc import Callable

import typer

HELP_SECONDS = 1.0
TRIES = 3
HEAVY = (
    "torch",
    "transformers",
    "mlflow",
    "kfp",
    "mteb",
    "bentoml",
    "evidently",
    "great_expectations",
    "pandas",
    "numpy",
)


def surface() -> str:
    """Every command with its parameters, one line each."""
    from pipelines.cli import app

    lines: list[str] = []

    def walk(command: typer.core.TyperGroup | typer.core.TyperCommand, path: str) -> None:
        if isinstance(command, typer.core.TyperGroup):
            for name in sorted(command.commands):
                walk(command.commands[name], f"{path} {name}")  # type: ignore[arg-type]
        else:
            options = sorted("/".join(p.opts) + ("*" if p.required else "") for p in command.params)
            lines.append(f"{path}: {' '.join(options)}")

    walk(typer.main.get_command(app), "omnivec")  # type: ignore[arg-type]
    return "\n".join(lines) + "\n"


def test_golden_command_line(golden: Callable[[str, str], None]) -> None:
    golden("cli.txt", surface())


def test_help_is_quick() -> None:
    """In seconds of processor time, which is the wall-clock time on an idle machine and does not grow on a busy one."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "pipelines.cli", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(TRIES)) < HELP_SECONDS


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, pipelines.cli; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "[]"

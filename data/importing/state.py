"""What an import leaves on disk while it runs, and how it ends in one step that can be repeated.

``<output>/.import/<name>/`` holds the plan, the pieces and, for the length of the last step, what is moved where. When
that step is over, the directory is gone and ``import.json`` tells what was imported.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from data.importing.finished import keep
from data.probe_store import DIRECTORY
from model.errors import DataError
from model.files import whole_file

REPORT = "import.json"
COMMIT = "commit.json"
STATE = "state.json"
FORMAT = "omnivec/import/1"


def work_directory(output: Path, name: str) -> Path:
    """Where an import of a source works."""
    return output / ".import" / name


def read_report(output: Path) -> dict[str, Any]:
    """``import.json``: what was imported, by source.

    Raises:
        DataError: it is not ours.
    """
    path = output / REPORT
    if not path.is_file():
        return {"format": FORMAT, "sources": {}}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] == FORMAT and isinstance(found["sources"], dict):
            return dict(found)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); restore it, or import into another directory") from error
    raise DataError(f"{path} has another format than {FORMAT}; import into another directory")


def own_shards(output: Path, name: str) -> list[Path]:
    """Shards of a source that are in place."""
    form = re.compile(rf"{re.escape(name)}(?:-\d{{5,}})?\.parquet")
    return sorted(path for path in output.glob(f"{name}*.parquet") if form.fullmatch(path.name))


@contextmanager
def only_one(output: Path) -> Iterator[None]:
    """Hold a corpus for this process; the lock ends with it, however it ends.

    Raises:
        DataError: another process imports into it.
    """
    output.mkdir(parents=True, exist_ok=True)
    directory = os.open(output, os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"another process is importing into {output}: wait for it, or end it") from error
        yield
    finally:
        os.close(directory)


def write_json(path: Path, value: Any) -> None:
    """Write a file whole."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def commit(output: Path, work: Path, name: str) -> dict[str, Any]:
    """Do what ``commit.json`` says: move, remove, report. May be interrupted and done again.

    Returns:
        The report on the source.
    """
    found = json.loads((work / COMMIT).read_text(encoding="utf-8"))
    (output / DIRECTORY).mkdir(parents=True, exist_ok=True)
    (output / "quarantine").mkdir(exist_ok=True)
    for source, target in found["moves"]:
        if (work / source).exists():  # else it is there already
            (work / source).replace(output / target)
    for one in found["removals"]:
        (output / one).unlink(missing_ok=True)
    report = read_report(output)
    report["sources"][name] = found["entry"]
    write_json(output / REPORT, report)
    keep(output, work, name, found)
    discard(work)
    return dict(found["entry"])


def discard(work: Path) -> None:
    """Remove the directory of an import; the plan for the end goes first, as it must not outlive what it names."""
    (work / COMMIT).unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)
    with suppress(OSError):  # other sources may be under way
        work.parent.rmdir()

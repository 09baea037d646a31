"""What to embed: files, folders and JSON lines, found first and read later, a few at a time.

A line of a ``.jsonl`` file is an object with an optional ``id``, ``task`` and ``title`` and either one part
(``{"text": "..."}``, ``{"image": "cat.png"}``) or several in order:
``{"parts": [{"image": "cat.png"}, {"text": "the same, in blue"}]}``. Paths are relative to the file that names them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.content import Content, Modality, Part
from model.encoder import Limits
from model.errors import ContentError, DataError

SUFFIXES: dict[str, Modality] = {
    ".txt": Modality.TEXT,
    ".md": Modality.TEXT,
    ".png": Modality.IMAGE,
    ".jpg": Modality.IMAGE,
    ".jpeg": Modality.IMAGE,
    ".webp": Modality.IMAGE,
    ".gif": Modality.IMAGE,
    ".wav": Modality.AUDIO,
    ".flac": Modality.AUDIO,
    ".ogg": Modality.AUDIO,
    ".opus": Modality.AUDIO,
    ".mp3": Modality.AUDIO,
    ".mp4": Modality.VIDEO,
    ".webm": Modality.VIDEO,
    ".pdf": Modality.DOCUMENT,
}
MAX_TEXT_BYTES = 1_000_000
MEDIA = tuple(modality.value for modality in Modality if modality is not Modality.TEXT)


@dataclass(frozen=True)
class Source:
    """Where one input is: a file, or one line of a JSON lines file."""

    id: str
    path: Path
    line: str | None = None

    @property
    def state(self) -> str:
        """What changes when the input does."""
        if self.line is not None:
            media = [_file_state(self.path.parent / name) for name in _media_named_in(self.line)]
            return "\n".join([self.id, self.line, *media])
        return f"{self.id}\n{_file_state(self.path)}"


def _file_state(path: Path) -> str:
    try:
        stat = path.stat()
    except (OSError, ValueError):  # a link to nowhere, or gone since, or no name at all; reading it will say so
        return f"{path}\n"
    return f"{path}\n{stat.st_size}\n{stat.st_mtime_ns}"


def _media_named_in(line: str) -> list[str]:
    """Paths of the media of a line, in their order; of a malformed line what can be told."""
    try:
        document = json.loads(line)
    except ValueError:
        return []
    parts = document.get("parts", [document]) if isinstance(document, dict) else []
    named = (
        [part.get(kind) for part in parts if isinstance(part, dict) for kind in MEDIA]
        if isinstance(parts, list)
        else []
    )
    return [name for name in named if isinstance(name, str)]


def find_sources(inputs: Sequence[Path]) -> list[Source]:
    """Every input that the given files and folders hold, in a fixed order.

    Raises:
        DataError: a path does not exist, or two inputs have the same id.
    """
    if missing := [str(path) for path in inputs if not path.exists()]:
        raise DataError(f"no such file or folder: {', '.join(missing)}")
    found = [source for path in inputs for source in _under(path)]
    ids: set[str] = set()
    for source in found:
        if source.id in ids:
            raise DataError(
                f"two inputs have the id {source.id!r}; ids must differ, or vectors could not be told apart"
            )
        ids.add(source.id)
    return found


def _under(path: Path) -> list[Source]:
    if path.suffix.lower() == ".jsonl":
        return _lines(path)
    if path.is_file():
        return [Source(str(path), path)]
    files = sorted(p for p in path.rglob("*") if _readable(p) and not _hidden(p.relative_to(path)))
    return [
        source for file in files for source in (_lines(file) if file.suffix == ".jsonl" else [Source(str(file), file)])
    ]


def _readable(path: Path) -> bool:
    """A file, or a link to nowhere, which must not be left out without a word; no folder, pipe or device."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _lines(path: Path) -> list[Source]:
    with path.open(encoding="utf-8", errors="replace") as file:
        return [
            Source(_id(line) or f"{path}:{number}", path, line) for number, line in enumerate(file, 1) if line.strip()
        ]


def _id(line: str) -> str | None:
    try:
        found = json.loads(line)["id"]
        str(found).encode()  # halves of surrogate pairs cannot be written
    except (ValueError, KeyError, TypeError):
        return None
    return None if found is None else str(found)


def read_source(source: Source, task: str | None, limits: Limits) -> Content:
    """Read one input.

    Raises:
        ContentError: it is of no known kind, malformed, missing or too large.
    """
    if source.line is None:
        return Content((_file(source.path, _modality(source.path), limits),), task=task)
    try:
        document = json.loads(source.line)
    except ValueError as error:
        raise ContentError(f"not JSON: {error}", code="malformed_line") from error
    if not isinstance(document, dict):
        raise ContentError(f"a line holds an object, not {type(document).__name__}", code="malformed_line")
    own_task, title = document.get("task", task), document.get("title")
    parts = document.get("parts", [{k: v for k, v in document.items() if k not in {"id", "task", "title"}}])
    named = all(value is None or isinstance(value, str) for value in (own_task, title))
    if not isinstance(parts, list) or not named:
        raise ContentError('"parts" must be a list, "task" and "title" strings', code="malformed_line")
    return Content(tuple(_part(part, source.path.parent, limits) for part in parts), task=own_task, title=title)


def _part(value: Any, folder: Path, limits: Limits) -> Part:
    if not isinstance(value, dict) or len(value) != 1 or not isinstance(payload := next(iter(value.values())), str):
        raise ContentError(
            f"a part is an object with one of {', '.join(Modality)} and a string, got {str(value)[:80]}",
            code="malformed_line",
        )
    name = next(iter(value))
    if name not in set(Modality):
        raise ContentError(f"{name!r} is no kind of part; known: {', '.join(Modality)}", code="malformed_line")
    modality = Modality(name)
    return Part(modality, text=payload) if modality is Modality.TEXT else _file(folder / payload, modality, limits)


def _modality(path: Path) -> Modality:
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise ContentError(
            f"{path.suffix or 'no suffix'!r} is no known kind of file; known: {' '.join(SUFFIXES)} .jsonl",
            code="unsupported_media_type",
        ) from None


def _file(path: Path, modality: Modality, limits: Limits) -> Part:
    limit = MAX_TEXT_BYTES if modality is Modality.TEXT else limits.max_media_bytes
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, a device may have no end
            raise ContentError(f"{path.name!r} is no file", code="file_unreadable")
        if (size := path.stat().st_size) > limit:
            raise ContentError(
                f"{path.name} has {size} bytes, more than {limit}", code="media_too_large", limit="max_media_bytes"
            )
        data = path.read_bytes()
    except ContentError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise ContentError(f"cannot read {path.name!r}: {error}", code="file_unreadable") from error
    if modality is Modality.TEXT:
        return Part(modality, text=data.decode("utf-8", errors="replace"))
    return Part(modality, data=data)

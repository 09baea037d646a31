"""A folder of media with captions beside them. The listing is part of the cuts, so that each names its files.

Their captions are part of the identity of a cut. The media are compared one by one, as everywhere.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.importing.places import is_remote, local_path
from data.importing.readers.files import digest_of
from data.importing.rows import Cut, Row, Unreadable, from_json, to_json
from model.errors import DataError

SIDECARS = (".txt", ".json")


class FolderReader:
    """Rows of files.

    Columns: ``file``, ``stem``, ``folder``, ``text`` of the .txt, and the keys of the .json.

    Args:
        path: the folder.
        row_bytes: the longest sidecar that is read.
    """

    def __init__(self, path: str, row_bytes: int) -> None:
        if is_remote(path):
            raise DataError(f"{path}: a remote folder cannot be walked; write a manifest of its files, or copy it here")
        self.path = local_path(path)
        self.row_bytes = row_bytes

    @property
    def base(self) -> str:
        """The folder."""
        return str(self.path)

    def cuts(self, rows: int) -> Iterator[Cut]:
        """Files in the order of their folders and names."""
        if not self.path.is_dir():
            raise DataError(f"{self.path} is no folder; source.path has to be a folder of media")
        first = 0
        names: list[str] = []
        facts: list[str | int] = []
        for name in _walk(self.path):
            names.append(name)
            facts += [name, *_facts(self.path, name)]
            if len(names) == rows:
                yield Cut(first, rows, {"files": names}, digest_of(*facts))
                first, names, facts = first + rows, [], []
        if names:
            yield Cut(first, len(names), {"files": names}, digest_of(*facts))

    def read(self, cut: Cut) -> Iterator[Row | Unreadable]:
        """Rows of a cut."""
        for number, name in enumerate(cut.place["files"], cut.first):
            path = self.path / name
            values: dict[str, Any] = {"file": name, "stem": path.stem, "folder": path.parent.name}
            if path.suffix.lower() in SIDECARS:
                message = f"{name} has no medium beside it"
                yield Unreadable(number, to_json(values), "media_missing", message)
                continue
            try:
                values = {**self._captions(path), **values}
            except (OSError, ValueError, RecursionError) as error:
                message = f"the caption of {name} cannot be read: {error}"
                yield Unreadable(number, to_json(values), "row_unparsable", message)
            else:
                yield Row(number, values)

    def _captions(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if (sidecar := path.with_suffix(".json")).is_file():
            value = from_json(self._text(sidecar))
            if not isinstance(value, dict):
                raise ValueError(f"{sidecar.name} holds {type(value).__name__} instead of an object")
            found = value
        if (sidecar := path.with_suffix(".txt")).is_file():
            found["text"] = self._text(sidecar).strip()
        return found

    def _text(self, path: Path) -> str:
        with path.open("rb") as file:
            data = file.read(self.row_bytes + 1)
        if len(data) > self.row_bytes:
            raise ValueError(f"{path.name} has more than {self.row_bytes} bytes")
        return data.removeprefix(b"\xef\xbb\xbf").decode()


def _walk(root: Path) -> Iterator[str]:
    """Files below a folder, hidden ones left out; of sidecars only those that belong to no medium."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        media = {_stem(name) for name in files if not name.lower().endswith(SIDECARS)}
        below = Path(folder).relative_to(root)
        for name in sorted(files):
            if not name.startswith(".") and not (name.lower().endswith(SIDECARS) and _stem(name) in media):
                yield (below / name).as_posix()


def _stem(name: str) -> str:
    return Path(name).stem


def _facts(root: Path, name: str) -> Iterator[int]:
    path = root / name
    for one in (path.with_suffix(suffix) for suffix in SIDECARS):
        if one.is_file():
            found = one.stat()
            yield from (found.st_size, found.st_mtime_ns)
        else:
            yield -1


def metadata_of(folder: Path) -> Path:
    """The metadata of an ``imagefolder``.

    Raises:
        DataError: there is none, or two.
    """
    found = [
        path for name in ("metadata.jsonl", "metadata.csv", "metadata.parquet") if (path := folder / name).is_file()
    ]
    if len(found) != 1:
        raise DataError(
            f"{folder} has to hold one of metadata.jsonl, metadata.csv and metadata.parquet, it has "
            f"{', '.join(path.name for path in found) or 'none'}; of a folder without, the kind is folder"
        )
    return found[0]

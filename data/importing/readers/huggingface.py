"""Directories of ``datasets``: told apart by the files they hold, and read by the readers of these files."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from data.importing.places import Access, is_remote, local_path
from data.importing.readers.arrow import ArrowReader
from data.importing.readers.columnar import ColumnarReader
from data.importing.rows import Reader
from model.errors import DataError


def huggingface_reader(access: Access, path: str, split: str | None, columns: Collection[str]) -> Reader:
    """Reader of a directory that ``save_to_disk`` wrote, or that was downloaded from the hub.

    Raises:
        DataError: it is neither, or holds several splits and none is chosen.
    """
    if is_remote(path):
        raise DataError(f"{path}: give kind parquet and the pattern of the files for a remote data set")
    folder = local_path(path)
    if (folder / "dataset_dict.json").is_file():
        names = _json(folder / "dataset_dict.json").get("splits", [])
        folder = folder / _chosen(path, split, names)
    if (folder / "state.json").is_file():
        files = [one["filename"] for one in _json(folder / "state.json").get("_data_files", [])]
        return ArrowReader([str(folder / name) for name in files], columns)
    by_split: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        by_split.setdefault(file.name.removesuffix(".parquet").split("-", 1)[0], []).append(str(file))
    if not by_split:
        raise DataError(
            f"{folder} holds neither state.json (of save_to_disk) nor *.parquet; if it is a cache of datasets, open it "
            "once with datasets and save_to_disk"
        )
    return ColumnarReader(access, by_split[_chosen(path, split, list(by_split))], columns)


def _chosen(path: str, split: str | None, names: list[str]) -> str:
    if split is None and len(names) == 1:
        return names[0]
    if split not in names:
        raise DataError(f"{path} has the splits {', '.join(names)}; set source.split to one of them, not {split!r}")
    return split


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no mapping")
    return found

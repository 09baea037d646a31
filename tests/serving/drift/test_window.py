"""Capture files that cannot be compared are refused with the reason."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.errors import DataError
from serving.capture import SCHEMA
from serving.drift.window import read_window


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    full = [{"kind": "text", "ok": True, "embedding": [1.0, 0.0], **row} for row in rows]
    pq.write_table(pa.Table.from_pylist(full, SCHEMA), path)
    return path


def test_files_of_a_directory_are_joined_and_failures_counted(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", [{}, {"ok": False, "embedding": None, "kind": "image"}])
    (tmp_path / "day").mkdir()
    write(tmp_path / "day" / "2.parquet", [{"kind": "audio"}])
    window = read_window(tmp_path)
    assert window.kinds == ["audio", "text"]
    assert window.failed == {"image": 1}


def test_missing_captures_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no capture"):
        read_window(tmp_path)
    with pytest.raises(DataError, match="holds no capture"):
        read_window(tmp_path / "reference.parquet")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="not a readable capture"):
        read_window(tmp_path)
    pq.write_table(pa.table({"kind": ["text"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"'embedding'.* are missing"):
        read_window(tmp_path)


def test_mixed_dimensions_and_empty_windows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"embeddings of \[1, 2\] dimensions"):
        read_window(write(tmp_path / "a.parquet", [{}, {"embedding": [1.0]}]))
    with pytest.raises(DataError, match="none of 1 captured rows"):
        read_window(write(tmp_path / "a.parquet", [{"ok": False, "embedding": None}]))

"""Rows and configurations of small imports."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from data.importing.config import ImportConfig
from data.importing.readers.open import open_source
from data.importing.rows import Row, Unreadable

TEXT_MAPPING: dict[str, Any] = {
    "query": [{"modality": "text", "column": "q"}],
    "positives": [[{"modality": "text", "column": "p"}]],
    "task": "pairs",
    "languages": ["en"],
    "license": "CC0-1.0",
}
IMAGE_MAPPING = {**TEXT_MAPPING, "positives": [[{"modality": "image", "column": "image"}]]}

Configure = Callable[..., ImportConfig]
ReadAll = Callable[..., list[Row | Unreadable]]


@pytest.fixture
def configure() -> Configure:
    """A configuration: of texts unless told otherwise."""

    def make(source: dict[str, Any], *, mapping: dict[str, Any] | None = None, **rest: Any) -> ImportConfig:
        return ImportConfig.parse({"name": "mine", "source": source, "mapping": mapping or TEXT_MAPPING, **rest})

    return make


@pytest.fixture
def read_all(tmp_path: Path) -> ReadAll:
    """All rows of a source, cut into pieces of so many rows."""

    def read(config: ImportConfig, rows: int = 1000) -> list[Row | Unreadable]:
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        reader, _ = open_source(config, home=tmp_path, work=work)
        return [row for cut in reader.cuts(rows) for row in reader.read(cut)]

    return read


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., Path]:
    """Write JSON Lines."""

    def write(rows: Iterable[dict[str, Any]], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write

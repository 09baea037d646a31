"""Rows and configurations of small imports."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data.engine import EngineConfig
from data.importing.config import ImportConfig
from data.importing.pieces import Summary
from data.importing.readers.open import open_source
from data.importing.rows import Row, Unreadable
from data.importing.work import Job, PieceWorker
from model.errors import DataError

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


class Workers:
    """The workers of an import in this process; notes what they did, and stops after so many pieces."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.most = 1_000

    def __call__(self, job: Job, items: list[dict[str, Any]], _: EngineConfig) -> Iterator[tuple[int, Summary]]:
        worker = PieceWorker(job.model_dump_json())
        for item in items:
            if len(self.done) == self.most:
                raise KeyboardInterrupt
            found = json.loads(worker(json.dumps(item)))
            if "error" in found:
                raise DataError(found["error"])
            self.done.append(item["number"])
            yield item["number"], Summary(**found["summary"])


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    found = Workers()
    for module in ("run", "finishing"):
        monkeypatch.setattr(f"data.importing.{module}.spread", found)
    return found

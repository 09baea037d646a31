"""Sampled, privacy-safe capture of what was served: the embedding and cheap features, never the input.

Rows are buffered and written in the background as Parquet files, each complete under its final name. Drift monitoring
reads them. An embedding still tells something about its input, so the directory deserves the care of a log.

Shape legend: D embedding dimensions.
"""

import os
import random
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.content import Content, Modality
from model.script import script_of
from serving.config import CaptureConfig
from serving.telemetry import log, metrics

SCHEMA = pa.schema(
    [
        ("time", pa.timestamp("us", tz="UTC")),
        ("request_id", pa.string()),
        ("kind", pa.string()),
        ("task", pa.string()),
        ("parts", pa.int32()),
        ("text_chars", pa.int32()),
        ("text_tokens", pa.int32()),
        ("image_tokens", pa.int32()),
        ("audio_tokens", pa.int32()),
        ("video_tokens", pa.int32()),
        ("media_bytes", pa.int64()),
        ("script", pa.string()),
        ("ok", pa.bool_()),
        ("error_code", pa.string()),
        ("embedding", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class Served:
    """One item as it was answered: either a full-length vector, or the code of its error."""

    content: Content
    request_id: str
    tokens: dict[Modality, int]
    vector_D: NDArray[np.float32] | None = None
    error_code: str | None = None


def features(served: Served) -> dict[str, Any]:
    """The row of one item: counts, sizes, script and embedding [D]; nothing from which the input could be read."""
    parts = served.content.parts
    texts = [part.text for part in parts if part.text is not None]
    return {
        "time": datetime.now(UTC),
        "request_id": served.request_id,
        "kind": served.content.kind,
        "task": served.content.task,
        "parts": len(parts),
        "text_chars": sum(map(len, texts)),
        **{f"{m.value}_tokens": served.tokens.get(m, 0) for m in Modality if m is not Modality.DOCUMENT},
        "media_bytes": sum(len(part.data) for part in parts if part.data is not None),
        "script": script_of(" ".join(texts)),
        "ok": served.error_code is None,
        "error_code": served.error_code,
        "embedding": served.vector_D,
    }


class Capture:
    """Collects rows in memory and writes them from a thread of its own; ``close`` writes the rest."""

    def __init__(self, config: CaptureConfig, *, seed: int | None = None) -> None:
        self._config = config
        self._random = random.Random(seed)
        self._rows: deque[dict[str, Any]] = deque(maxlen=config.buffer_items)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._files = 0
        self._writer = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        config.directory.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def record(self, served: Served) -> None:
        """Keep one item if the sample takes it; never blocks on the disk."""
        if self._random.random() >= self._config.sample_rate:
            return
        row = features(served)
        with self._lock:
            dropped = len(self._rows) == self._rows.maxlen
            self._rows.append(row)
            full = len(self._rows) >= self._config.flush_items
        if dropped:
            metrics().captured.labels("dropped").inc()
        if full:
            self._wake.set()

    def close(self) -> None:
        """Write what is left and stop the thread. Safe to call twice."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(self._config.flush_seconds)
            self._wake.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            rows = list(self._rows)
            self._rows.clear()
        if not rows:
            return
        try:
            self._write(rows)
            metrics().captured.labels("written").inc(len(rows))
        except (OSError, pa.ArrowException):
            metrics().captured.labels("failed").inc(len(rows))
            log.exception("capture_failed", extra={"rows": len(rows), "directory": str(self._config.directory)})

    def _write(self, rows: list[dict[str, Any]]) -> None:
        name = f"capture-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{self._writer}-{self._files:06d}"
        self._files += 1
        partial = self._config.directory / f".{name}.partial"
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), partial, compression="zstd")
        partial.replace(self._config.directory / f"{name}.parquet")


def read_captures(directory: Path) -> pa.Table:
    """All complete capture files of a directory as one table, oldest row first."""
    tables = [pq.read_table(path, schema=SCHEMA) for path in sorted(directory.glob("*.parquet"))]
    return pa.concat_tables(tables).sort_by("time") if tables else SCHEMA.empty_table()

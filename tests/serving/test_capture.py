"""What is captured, what is never captured, and that nothing is lost at the end."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from starlette.testclient import TestClient

from model.content import Content, Modality, image
from serving.capture import SCHEMA, Capture, Served, features, read_captures
from serving.client import to_item
from serving.config import CaptureConfig, ServingConfig
from serving.dummy import BROKEN

SECRET = "ein geheimer Satz"


def served(index: int = 0) -> Served:
    content = Content.of(image(b"PIXELS"), SECRET, task="query")
    vector_D = np.array([0.6, 0.8, index], dtype=np.float32)
    return Served(content, f"r{index}", {Modality.TEXT: 5, Modality.IMAGE: 4}, vector_D)


def test_features_are_counts_and_never_the_input() -> None:
    row = features(served())
    assert set(row) == set(SCHEMA.names)
    assert {k: v for k, v in row.items() if k not in ("time", "embedding")} == {
        "request_id": "r0",
        "kind": "interleaved",
        "task": "query",
        "parts": 2,
        "text_chars": len(SECRET),
        "text_tokens": 5,
        "image_tokens": 4,
        "audio_tokens": 0,
        "video_tokens": 0,
        "media_bytes": 6,
        "script": "Latn",
        "ok": True,
        "error_code": None,
    }


def test_close_writes_everything_and_files_hold_no_input(tmp_path: Path) -> None:
    capture = Capture(CaptureConfig(directory=tmp_path, flush_items=10, flush_seconds=60))
    for index in range(37):
        capture.record(served(index))
    capture.close()
    capture.close()
    table = read_captures(tmp_path)
    assert table.schema.equals(SCHEMA)
    assert table["request_id"].to_pylist() == [f"r{i}" for i in range(37)]
    assert np.allclose(table["embedding"].to_pylist()[3], [0.6, 0.8, 3])
    blob = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert SECRET.encode() not in blob
    assert b"PIXELS" not in blob
    assert not list(tmp_path.glob(".*")), "a partial file was left"


def test_the_sample_rate_holds(tmp_path: Path) -> None:
    capture = Capture(CaptureConfig(directory=tmp_path, sample_rate=0.25), seed=1)
    for index in range(400):
        capture.record(served(index))
    capture.close()
    assert 70 <= len(read_captures(tmp_path)) <= 130


def test_a_directory_that_vanishes_never_reaches_the_caller(tmp_path: Path) -> None:
    target = tmp_path / "gone"
    capture = Capture(CaptureConfig(directory=target, flush_items=1))
    target.rmdir()
    target.write_text("now a file")
    capture.record(served())
    capture.close()
    assert target.read_text() == "now a file"


def test_good_and_bad_items_of_the_service_are_captured(client: TestClient, config: ServingConfig) -> None:
    good = client.post("/v1/embeddings", json={"model": "omnivec", "input": ["a b", "c"], "dimensions": 2})
    bad = client.post("/v1/embeddings", json={"model": "omnivec", "input": ["a", to_item(Content.of(image(BROKEN)))]})
    client.app.state.host.runtime().capture.close()  # type: ignore[attr-defined]
    assert config.capture is not None
    rows = read_captures(config.capture.directory).to_pylist()
    by_id = {row["request_id"]: row for row in rows}
    assert [row["request_id"] for row in rows].count(good.headers["x-request-id"]) == 2
    assert len(by_id[good.headers["x-request-id"]]["embedding"]) == 8, "the full vector is kept, whatever was asked for"
    failed = by_id[bad.headers["x-request-id"]]
    assert (failed["ok"], failed["error_code"], failed["embedding"], failed["kind"]) == (
        False,
        "image_undecodable",
        None,
        "image",
    )


def test_files_are_readable_one_by_one(tmp_path: Path) -> None:
    capture = Capture(CaptureConfig(directory=tmp_path))
    capture.record(served())
    capture.close()
    (path,) = tmp_path.glob("*.parquet")
    assert pq.read_schema(path).equals(SCHEMA)

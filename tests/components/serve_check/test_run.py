"""The whole check against a real server process with the tiny encoder: it passes, and it can fail."""

import json
from pathlib import Path

import numpy as np
import pytest

from components.serve_check import run as module
from components.serve_check.config import Config
from components.serve_check.run import run
from data.records import ContentRef, PartRef, Record
from data.shards import write_shard
from model.content import Modality, media_digest
from model.errors import ArtifactError
from serving.capture import read_captures

KINDS = {"text", "image", "audio", "video", "interleaved"}


@pytest.fixture
def dataset(tmp_path: Path, png_bytes: bytes, ogg_bytes: bytes, mp4_bytes: bytes) -> Path:
    """Five records of each kind; media of a kind differ by their trailing bytes or are shared by several texts."""
    samples = {Modality.IMAGE: png_bytes, Modality.AUDIO: ogg_bytes, Modality.VIDEO: mp4_bytes}
    media = {media_digest(data): (modality, data) for modality, data in samples.items()}
    refs = [PartRef(modality, media=media_digest(data)) for modality, data in samples.items()]
    queries: list[ContentRef] = [(PartRef(Modality.TEXT, text=f"word {i}"),) for i in range(9)]
    queries += [(PartRef(Modality.TEXT, text=f"like this, in colour {i}"), refs[0]) for i in range(9)]
    records = [
        Record(f"r{i}", "unit", query, ((refs[i % 3],),), (), "unit", ("en",), "CC0-1.0", f"g{i}", "test")
        for i, query in enumerate(queries)
    ]
    write_shard(tmp_path / "data" / "unit.parquet", records, media)
    return tmp_path / "data"


@pytest.mark.minutes
def test_a_sound_model_passes_and_leaves_report_and_windows(tiny_artifact: Path, dataset: Path, tmp_path: Path) -> None:
    report, captures = tmp_path / "out" / "report.json", tmp_path / "out" / "captures"
    config = Config(backend="torch", parity_per_kind=3, window_per_kind=3, items_per_request=4)
    scalars = run(config, artifact=tiny_artifact, dataset=dataset, report=report, captures=captures, version="4")
    value = json.loads(report.read_text())
    assert value["ok"]
    assert value["version"] == "4"
    assert value["cosine"].keys() == KINDS | {"text/query", "text/document"}
    assert all(row["min"] >= 0.9999 for row in value["cosine"].values())
    assert all(row["p50"] > 0 for row in value["latency_ms"].values())
    assert all(verdict["ok"] for verdict in value["errors"])
    assert {"truncated_image", "truncated_audio", "truncated_video"} <= {v["name"] for v in value["errors"]}
    assert value["windows"]["clean"] == value["windows"]["shifted"] == {"text": 3, "interleaved": 3}
    assert scalars["cosine_min/image"] == value["cosine"]["image"]["min"]
    clean, shifted = (read_captures(captures / name).to_pylist() for name in ("clean", "shifted"))
    assert not {row["request_id"] for row in clean} & {row["request_id"] for row in shifted}
    assert all(row["ok"] for row in clean + shifted)


@pytest.mark.slow
def test_vectors_of_another_model_fail_the_check_and_are_reported(
    tiny_artifact: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Twisted:
        """The same encoder with two dimensions swapped."""

        def __init__(self, inner: object) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> object:
            if name == "parameters":
                raise AttributeError(name)
            return getattr(self.inner, name)

        def __call__(self, batch: object) -> object:
            vectors = self.inner(batch).detach().numpy()  # type: ignore[operator]
            return np.roll(vectors, 1, axis=1)

    load = module.load_encoder
    monkeypatch.setattr(module, "load_encoder", lambda path: Twisted(load(path)))
    report = tmp_path / "report.json"
    config = Config(backend="torch", parity_per_kind=2, window_per_kind=1, tasks=())
    with pytest.raises(ArtifactError, match=r"text: lowest cosine -?0\.\d+ between served and offline"):
        run(config, artifact=tiny_artifact, dataset=dataset, report=report, captures=tmp_path / "captures")
    value = json.loads(report.read_text())
    assert not value["ok"]
    assert len(value["problems"]) == len(KINDS)

"""The accelerator's script does all its parts on any machine, and leaves what it measured whatever happens after."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import findings, synthetic
from benchmarks.findings import Bench, Finding
from benchmarks.gpu import PARTS, main


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("loss", {"loss-256-ours-memory", "loss-512-ours-seconds", "loss-512-cached-mnrl-seconds"}),
        ("cache", {"cache-uncached-32", "cache-memory", "cache-time-per-pair"}),
        ("train", {"train-toy-tokens", "train-toy-mfu", "train-toy-peer"}),
        ("encode", {"encode-text-toy", "encode-text-mfu-toy", "encode-pictures", "encode-pictures-mfu"}),
    ],
)
def test_each_part_runs(part: str, expected: set[str], tmp_path: Path) -> None:
    rows = {row.name: row for row in main(["--out", str(tmp_path), "--toy", "--parts", part, "--device", "cpu"])}
    assert expected <= set(rows)
    for row in rows.values():
        assert (row.value is None) == bool(row.missing), row
        assert "mfu" in row.name or not row.missing, row
        assert row.value is None or math.isfinite(row.value)
    written = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in written["rows"]] == list(rows)
    assert written["toy"] is True


def test_rows_are_on_disk_before_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: Bench) -> Iterator[Finding]:
        yield Finding("first", 1.0)
        raise KeyboardInterrupt

    monkeypatch.setitem(PARTS, "loss", killed)
    with pytest.raises(KeyboardInterrupt):
        main(["--out", str(tmp_path), "--parts", "loss", "--device", "cpu"])
    assert json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["rows"][0]["name"] == "first"


def test_a_part_that_fails_says_why_and_the_next_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Bench) -> Iterator[Finding]:
        raise ValueError("no such kernel")
        yield

    monkeypatch.setitem(PARTS, "loss", fails)
    monkeypatch.setitem(PARTS, "encode", lambda _: iter([Finding("second", 2.0)]))
    rows = main(["--out", str(tmp_path), "--parts", "loss", "encode", "--device", "cpu"])
    assert "no such kernel" in rows[0].missing
    assert rows[1].value == 2.0


@pytest.mark.parametrize("part", ["cache", "train", "encode"])
def test_missing_packages_are_named(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "find_spec", lambda name: None)
    (row,) = PARTS[part](Bench("cpu", True, tmp_path))
    assert "transformers" in row.missing
    assert row.value is None


def test_synthetic_texts_have_the_lengths_that_the_batch_says() -> None:
    encoder = synthetic.encoder_of(synthetic.TOY, "cpu", pictures=False)
    from model.content import Content

    words = synthetic.texts(6, synthetic.TOY, 3)
    mask_NL = synthetic.text_batch(6, synthetic.TOY, 3).mask_NL
    assert np.array_equal(encoder.preprocess([Content.of(w) for w in words]).mask_NL.sum(1), mask_NL.sum(1))
    assert len(set(words)) == 6


def test_the_batch_of_pictures_is_what_the_preprocessor_would_make() -> None:
    encoder = synthetic.encoder_of(synthetic.TOY, "cpu", pictures=True)
    from model.content import Content, image
    from tests.conftest import make_png

    real = encoder.preprocess([Content.of(image(make_png(i))) for i in range(2)])
    made = synthetic.picture_batch(2, synthetic.TOY, 0)
    assert made.token_ids_NL.shape == real.token_ids_NL.shape
    assert made.token_ids_NL[0, 0] == real.token_ids_NL[0, 0]
    for name in ("position_K", "row_K", "column_K"):
        assert np.array_equal(getattr(made.media["image"], name), getattr(real.media["image"], name))
    assert made.media["image"].calls[0].inputs.shape == real.media["image"].calls[0].inputs.shape
    with torch.inference_mode():
        assert torch.isfinite(encoder(made)).all()

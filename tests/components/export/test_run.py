"""The export step of a unified encoder with int8 graphs: sizes and losses that it reports are those of its files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.export.config import ExportConfig
from components.export.int8 import search, text_pairs
from components.export.run import run
from data.corpus import Corpus
from data.shards import write_shard
from model.artifact import load_encoder
from model.encoding import encode_contents
from model.integrity import verify_digests
from model.unified.build import build_encoder
from model.weights.random import random_weights
from tests.conftest import benchmark_records

FORMS = {"fp32": "onnx", "int8": "onnx-int8"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts and sounds, each record once for the test and once for the validation split."""
    directory = tmp_path_factory.mktemp("export")
    records, media = benchmark_records()
    kept = [r for r in records if r.source in ("libreoffice-bitext", "python-stdlib", "stamps-speech")]
    every = [
        replace(r, id=f"{r.id}/{split}", group=f"{r.group}/{split}", split=split)
        for r in kept
        for split in ("validation", "test")
    ]
    for source in sorted({r.source for r in every}):
        own = [r for r in every if r.source == source]
        used = {p.media for r in own for c in (r.query, *r.positives) for p in c if p.media}
        write_shard(directory / f"{source}.parquet", own, {d: media[d] for d in used})
    return directory


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder without pictures: the graphs of their tower take most of an export's time and have no int8."""
    home = tmp_path_factory.mktemp("hearing")
    build_encoder(random_weights(home / "weights"), {"image_tower": None}, source="random").save(home / "artifact")
    return home / "artifact"


@pytest.mark.minutes
@pytest.mark.slow
def test_sizes_and_the_loss_of_int8_are_those_of_the_files(artifact: Path, dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "exported"
    config = ExportConfig(parity_per_kind=4, reference_per_kind=20, int8=True, int8_pairs=10, int8_maximum_loss=1.0)
    scalars = run(config, model=artifact, dataset=dataset, output=output)
    verify_digests(output)

    parity = json.loads((output / "onnx" / "parity.json").read_text())
    int8 = parity["int8"]
    for sizes in (parity["bytes"], int8["bytes"]):
        assert sizes == {name: (output / "onnx" / f"{name}.onnx").stat().st_size for name in sizes}
    assert set(parity["bytes"]) == {"table", "trunk", "audio"}
    assert set(int8["bytes"]) == {"int8/trunk", "int8/audio"}
    total = sum(parity["bytes"].values()) + sum(int8["bytes"].values())
    assert scalars["onnx_megabytes"] == round(total / 1e6, 1)

    assert set(parity["cosine"]) == set(int8["cosine"]) == {"text", "audio"}
    assert min(parity["cosine"].values()) >= 0.9999
    assert 0.9 < int8["cosine"]["text"] < 1 - 1e-6, "other numbers than fp32, yet close"

    # Measured again from the artifact alone.
    pairs = text_pairs(Corpus(dataset), config.int8_pairs)
    served = {form: load_encoder(output, backend=backend) for form, backend in FORMS.items()}
    again = {task: {form: search(encoder, some) for form, encoder in served.items()} for task, some in pairs.items()}
    assert int8["ndcg_at_10"] == again
    assert set(again) == {"bitext", "docstring_to_code"}
    assert int8["loss"] == pytest.approx(np.mean([scores["fp32"] - scores["int8"] for scores in again.values()]))
    queries = [query for query, _ in pairs["bitext"]]
    fp32_ND, int8_ND = (encode_contents(encoder, queries, desc="") for encoder in served.values())
    assert np.abs(fp32_ND - int8_ND).max() > 1e-5, "two forms were measured, not one twice"

    card = (output / "README.md").read_text()
    for name, size in {**parity["bytes"], **int8["bytes"]}.items():
        assert f"{name} {size / 1e6:.1f} MB" in card
    for task, scores in again.items():
        assert f"{task} {scores['fp32']:.4f} -> {scores['int8']:.4f}" in card

"""Codes equal those of sentence-transformers at equal ranges, bit for bit, and never lean on their neighbours."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.errors import ArtifactError, ConfigError
from model.matryoshka import truncate
from model.quantize import FILE, Quantizer, calibrate, comparable, load_quantizer, save_quantizer

DTYPES = ("int8", "uint8", "binary", "ubinary")


def unit(seed: int, count: int, size: int) -> NDArray[np.float32]:
    return truncate(np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32), size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [64, 60])
def test_codes_are_those_of_sentence_transformers(dtype: str, size: int) -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    sample, vectors_Nd = unit(0, 50, size), unit(1, 400, size)
    quantizer = calibrate(sample, [size])
    expected = quantize_embeddings(vectors_Nd, precision=dtype, ranges=quantizer.ranges[size])
    ours = quantizer(vectors_Nd, dtype)
    assert ours.dtype == expected.dtype
    np.testing.assert_array_equal(ours, expected)
    low, high = quantizer.ranges[size]
    assert ((vectors_Nd < low) | (vectors_Nd > high)).any(), "values outside the ranges are part of the comparison"


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_a_code_does_not_depend_on_its_neighbours(seed: int, count: int) -> None:
    quantizer, vectors_Nd = calibrate(unit(0, 50, 16), [16]), unit(seed, count, 16)
    for dtype in (*DTYPES, "float"):
        together = quantizer(vectors_Nd, dtype)
        alone = np.concatenate([quantizer(row[None], dtype) for row in vectors_Nd])
        np.testing.assert_array_equal(together, alone)


def test_each_matryoshka_dimension_has_its_own_ranges() -> None:
    sample = unit(0, 50, 32)
    ranges = calibrate(sample, [32, 8]).ranges
    assert {size: found.shape for size, found in ranges.items()} == {32: (2, 32), 8: (2, 8)}
    np.testing.assert_array_equal(ranges[8], [truncate(sample, 8).min(0), truncate(sample, 8).max(0)])
    assert not np.allclose(ranges[8], ranges[32][:, :8])


def test_codes_without_ranges_are_refused_and_bits_need_none() -> None:
    vectors_Nd = unit(0, 3, 16)
    with pytest.raises(ConfigError, match=r"no calibrated ranges.*binary and ubinary work"):
        Quantizer({})(vectors_Nd, "int8")
    with pytest.raises(ConfigError, match="calibrated for dimensions 32, 8"):
        calibrate(unit(0, 9, 32), [32, 8])(vectors_Nd, "uint8")
    assert Quantizer({})(vectors_Nd, "ubinary").shape == (3, 2)
    with pytest.raises(ConfigError, match="calibrate nothing"):
        calibrate(vectors_Nd[:1], [16])


def test_codes_rank_like_their_vectors() -> None:
    queries, documents = unit(1, 40, 256), unit(2, 300, 256)
    quantizer = calibrate(unit(3, 500, 256), [256])
    exact = queries @ documents.T

    def agreement(dtype: str) -> float:
        sides = (comparable(quantizer(side, dtype), dtype, 256) for side in (queries, documents))
        left, right = sides
        return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(exact, left @ right.T, strict=True)]))

    assert agreement("int8") == pytest.approx(agreement("uint8"))
    assert agreement("binary") == pytest.approx(agreement("ubinary"))
    assert agreement("float") > agreement("int8") > 0.9 > agreement("binary") > 0.5


def test_ranges_survive_the_artifact_and_damage_is_seen(tmp_path: Path) -> None:
    quantizer = calibrate(unit(0, 50, 32), [32, 8])
    save_quantizer(quantizer, tmp_path, {"calibrated_on": {"split": "validation"}})
    loaded = load_quantizer(tmp_path)
    assert loaded.digest == quantizer.digest
    np.testing.assert_array_equal(loaded(unit(1, 5, 8), "int8"), quantizer(unit(1, 5, 8), "int8"))
    document = json.loads((tmp_path / FILE).read_text())
    for damage in ({"format": "other"}, {"ranges": {"8": [[0.0] * 8] * 2}}, {"ranges": None}):
        (tmp_path / FILE).write_text(json.dumps(document | damage))
        with pytest.raises(ArtifactError, match="export the model again"):
            load_quantizer(tmp_path)
    assert load_quantizer(tmp_path / "elsewhere").ranges == {}

"""The rows against webdataset: both sides make the same batches, and others are refused."""

from pathlib import Path

import pytest

from benchmarks import loading_tars
from benchmarks.rows import BenchmarkError
from benchmarks.setting import Setting
from model.content import Modality

CORPUS = Path(__file__).parents[2] / "data" / "starter"


@pytest.fixture
def setting(tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    pytest.importorskip("webdataset")
    monkeypatch.setattr(loading_tars, "BATCHES_PER_TAR", 2)
    monkeypatch.setattr(loading_tars, "BATCH", dict.fromkeys(Modality, 2))
    return Setting(tiny_artifact, CORPUS, tmp_path, threads=1, rounds=1)


MODALITIES = [
    pytest.param(m, marks=[] if m is Modality.IMAGE else pytest.mark.minutes) for m in loading_tars.MODALITIES
]


@pytest.mark.parametrize("modality", MODALITIES)
def test_both_sides_make_the_same_batches(setting: Setting, modality: Modality) -> None:
    row = loading_tars.ROWS[f"loading-tars-{modality}-0"](setting)
    assert min(row.ours, row.peer_value, row.ratio) > 0
    assert "6 samples" in row.note


@pytest.mark.minutes
def test_workers_take_part(setting: Setting) -> None:
    assert loading_tars.ROWS["loading-tars-image-2"](setting).note.startswith("2 workers")


def test_other_batches_are_refused(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    write = loading_tars.write_both

    def shuffled(folder: Path, data: list[bytes], modality: Modality) -> object:
        samples, tars = write(folder, data, modality)
        return samples[::-1], tars

    monkeypatch.setattr(loading_tars, "write_both", shuffled)
    with pytest.raises(BenchmarkError, match="different batches"):
        loading_tars.ROWS["loading-tars-image-0"](setting)

"""The rows of loading: both sides make the same sizes, and what differs is refused."""

from pathlib import Path

import pytest
import torch

from benchmarks import loading
from benchmarks.rows import BenchmarkError
from benchmarks.setting import Setting
from model.content import Modality

CORPUS = Path(__file__).parents[2] / "data" / "starter"


@pytest.fixture
def setting(tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setattr(loading, "BATCHES", 2)
    monkeypatch.setattr(loading, "TEXT_BATCHES", 2)
    monkeypatch.setattr(loading, "BATCH", dict.fromkeys(Modality, 2))
    return Setting(tiny_artifact, CORPUS, tmp_path, threads=1, rounds=1)


# One modality in each run of the tests, the others with those that take long.
MODALITIES = [pytest.param(m, marks=[] if m is Modality.IMAGE else pytest.mark.minutes) for m in Modality]


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_modality_has_a_row(setting: Setting, modality: Modality) -> None:
    row = loading.ROWS[f"loading-{modality}-0"](setting)
    assert row.name == f"loading-{modality}-0"
    assert min(row.ours, row.peer_value, row.ratio) > 0
    assert "4 samples" in row.note


@pytest.mark.minutes
def test_workers_take_part(setting: Setting) -> None:
    row = loading.ROWS["loading-image-2"](setting)
    assert row.ours > 0
    assert row.note.startswith("2 workers")


def test_other_sizes_are_refused(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "picture", lambda data, size: torch.zeros(3, 2, 2))
    with pytest.raises(BenchmarkError, match="different sizes"):
        loading.ROWS["loading-image-0"](setting)

"""The rows of importing at a tiny size."""

from pathlib import Path

import pytest

from benchmarks import importing
from benchmarks.setting import Setting

pytestmark = pytest.mark.minutes


@pytest.mark.parametrize("kind", ["texts", "media"])
def test_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setattr(importing, "TEXT_ROWS", 30)
    monkeypatch.setattr(importing, "MEDIA_ROWS", 20)
    row = importing.ROWS[f"importing-{kind}"](Setting(tmp_path, tmp_path, tmp_path, threads=1, rounds=2))
    assert min(row.ours, row.peer_value, row.ratio) > 0
    assert "peak" in row.note

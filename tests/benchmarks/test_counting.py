"""What is counted without a GPU grows as it should, and is what the tensors come to."""

import pytest

from benchmarks import counting, loss
from benchmarks.findings import Finding

MIB = 2**20


def test_the_dense_loss_keeps_matrices_and_ours_keeps_none() -> None:
    """Beyond the gradients: a matrix is 4 MiB at 1024 pairs; ours holds some tiles of 256 KiB."""
    ours, dense = (counting._check_peak(side, 1024, width=16, tile=256) for side in ("ours", "dense"))
    assert 5 * 4 * MIB <= dense <= 6 * 4 * MIB
    assert ours < 2.5 * MIB


def test_a_tile_that_is_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss.SIDES, "ours", loss.dense)
    with pytest.raises(AssertionError):
        test_the_dense_loss_keeps_matrices_and_ours_keeps_none()


def test_the_command_says_that_nothing_was_measured(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(counting.PARTS, "loss", lambda largest: iter([Finding("a", 1.5, "GB", "2", note="small")]))
    assert [row.name for row in counting.main(["loss"])] == ["a"]
    printed = capsys.readouterr().out
    assert "not measured on a GPU" in printed
    assert "1.5 GB (goal: 2); small" in printed
    with pytest.raises(SystemExit):
        counting.main(["none"])

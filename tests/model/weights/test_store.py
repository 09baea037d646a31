from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from model.errors import ArtifactError
from model.weights.store import is_complete, load_config, load_state, make_once, verify, write_state


def fill(directory: Path) -> None:
    write_state(directory, {"a": torch.arange(4.0), "table": torch.ones(2, dtype=torch.float16)}, {"width": 4})


def test_weights_come_back_in_single_precision(tmp_path: Path) -> None:
    directory = make_once(tmp_path / "weights" / "x-1", fill)
    state = load_state(directory)
    assert state["table"].dtype == torch.float32
    assert torch.equal(state["a"], torch.arange(4.0))
    assert load_config(directory) == {"width": 4}
    verify(directory)


def test_complete_weights_are_not_made_again(tmp_path: Path) -> None:
    make_once(tmp_path / "x", fill)
    make_once(tmp_path / "x", lambda _: pytest.fail("made again"))


def test_a_killed_conversion_leaves_nothing_and_is_made_anew(tmp_path: Path) -> None:
    def dies(directory: Path) -> None:
        fill(directory)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_once(tmp_path / "x", dies)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x").mkdir()  # left behind by something else
    (tmp_path / "x" / "model.safetensors").write_bytes(b"half")
    assert not is_complete(tmp_path / "x")
    assert set(load_state(make_once(tmp_path / "x", fill))) == {"a", "table"}


def test_several_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: make_once(tmp_path / "x", fill), range(8)))
    assert made == {tmp_path / "x"}
    verify(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_missing_and_damaged_weights_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no complete weights"):
        load_state(tmp_path / "none")
    directory = make_once(tmp_path / "x", fill)
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(ArtifactError, match=r"model\.safetensors has SHA-256"):
        verify(directory)
    path.write_bytes(b"rubbish")
    with pytest.raises(ArtifactError, match="unreadable"):
        load_state(directory)

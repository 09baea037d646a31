"""Checkpoints count when they are complete and unchanged; otherwise the one before is used."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.training.checkpoints import CheckpointStore, write_durably


def put(store: CheckpointStore, step: int, content: bytes | dict[str, bytes]) -> Path:
    store.prepare(step)
    target = store.partial(step)
    if isinstance(content, bytes):
        target.write_bytes(content)
    else:
        for name, data in content.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(data)
    return store.commit(step, processes=1)


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "stage")
    assert store.newest() is None
    for step in (5, 10, 15):
        put(store, step, str(step).encode())
    assert store.steps() == [15, 10]
    assert sorted(p.name for p in store.directory.iterdir()) == [
        f"step-{step:08d}{suffix}" for step in (10, 15) for suffix in (".ckpt", ".json")
    ]
    step, path = store.newest() or pytest.fail("no checkpoint")
    assert (step, path.read_bytes()) == (15, b"15")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_changed_byte_sends_back_to_the_one_before(tmp_path_factory, capsys, data: st.DataObject) -> None:
    store = CheckpointStore(tmp_path_factory.mktemp("stage"))
    content = data.draw(st.binary(min_size=1, max_size=64))
    put(store, 1, b"older")
    path = put(store, 2, content)
    place = data.draw(st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    damaged[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(data.draw(st.sampled_from([bytes(damaged), content[:place], content + b"x"])))
    assert store.newest() == (1, store.directory / "step-00000001.ckpt")
    assert "step 2 is damaged" in capsys.readouterr().err
    put(store, 3, b"newer")
    assert store.steps() == [3, 1], "the damaged one does not push out the good one"
    assert not list(store.directory.glob("step-00000002*"))


@pytest.mark.parametrize("manifest", [b"", b"{}", b'{"files": 3}', b'{"format": "other/1", "step": 2, "files": {}}'])
def test_a_damaged_manifest_sends_back_to_the_one_before(tmp_path: Path, manifest: bytes) -> None:
    store = CheckpointStore(tmp_path)
    put(store, 1, b"older")
    put(store, 2, b"newer")
    (tmp_path / "step-00000002.json").write_bytes(manifest)
    assert (store.newest() or (0,))[0] == 1


def test_data_without_a_manifest_does_not_count(tmp_path: Path) -> None:
    """What a kill leaves between the two renames."""
    store = CheckpointStore(tmp_path)
    put(store, 1, b"older")
    put(store, 2, b"newer").with_suffix(".json").unlink()
    (tmp_path / "step-00000003.partial").write_bytes(b"half")
    (tmp_path / "step-00000003.json.partial").write_bytes(b"{")
    assert (store.newest() or (0,))[0] == 1
    put(store, 2, b"again")
    assert (store.newest() or (0,))[1].read_bytes() == b"again"
    assert not [p for p in tmp_path.iterdir() if ".partial" in p.name]


def test_a_checkpoint_of_shards_is_verified_file_by_file(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    put(store, 1, {"a": b"1", "sub/b": b"2"})
    path = put(store, 2, {"a": b"3", "sub/b": b"4"})
    assert store.newest() == (2, path)
    assert set(json.loads(path.with_suffix(".json").read_text())["files"]) == {"a", "sub/b"}
    (path / "sub" / "b").unlink()
    assert (store.newest() or (0,))[0] == 1


def test_nothing_usable_means_from_the_start(tmp_path: Path, capsys) -> None:
    store = CheckpointStore(tmp_path)
    put(store, 1, b"only").write_bytes(b"0nly")
    assert store.newest() is None
    assert "does not match its digest" in capsys.readouterr().err


def test_a_file_is_replaced_in_one_move(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_durably(path, b"1")
    write_durably(path, b"2")
    assert path.read_bytes() == b"2"
    assert list(tmp_path.iterdir()) == [path]

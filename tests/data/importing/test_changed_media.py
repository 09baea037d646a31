"""An import, finished or interrupted, notices media that changed behind an unchanged manifest and does these again."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data.engine import EngineConfig
from data.importing import finished
from data.importing.config import ImportConfig
from data.importing.finished import kept_directory, quarantine_file
from data.importing.looks import ABSENT, LOOKS, UNSURE, local_look, media_of, remote_look
from data.importing.run import Imported, run_import
from model.errors import DataError
from tests.conftest import make_png
from tests.data.importing.conftest import IMAGE_MAPPING, Configure, Workers
from tests.data.importing.test_packed import PACK

PICTURES, ROWS, PIECE = 8, 16, 2
SOURCE = {"kind": "jsonl", "path": "rows.jsonl"}
Run = Callable[..., Imported]


@pytest.fixture
def config(configure: Configure) -> ImportConfig:
    return configure(SOURCE, mapping=IMAGE_MAPPING, sizes={"piece_rows": PIECE})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Pictures, each in two rows of one piece; the last is broken, and of another there is none."""
    return make_home(tmp_path / "home")


def make_home(home: Path) -> Path:
    home.mkdir()
    for number in range(PICTURES - 1):
        (home / f"{number}.png").write_bytes(make_png(number))
    (home / f"{PICTURES - 2}.png").write_bytes(make_png(3)[:200])
    rows = [{"q": f"picture {i}", "image": f"{i // PIECE}.png"} for i in range(ROWS)]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return home


def go(config: ImportConfig, home: Path, output: Path, **options: Any) -> Imported:
    return run_import(config, home=home, output=output, engine=EngineConfig(workers=1), **options)


def change(home: Path, number: int, how: str) -> bool:
    """Do something to a picture; returns whether its content is another now."""
    path = home / f"{number}.png"
    before = path.read_bytes() if path.is_file() else None
    if how == "remove":
        path.unlink(missing_ok=True)
    elif how == "write":
        path.write_bytes(make_png(100 + number))
    elif how == "mend":
        path.write_bytes(make_png(number))
    elif how == "damage":
        path.write_bytes(b"no picture")
    elif before is not None and how == "touch":
        os.utime(path, ns=(10**18, 10**18))
    elif before is not None and how == "same size and time":
        times = path.stat()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif before is not None and how == "replace":
        path.with_suffix(".new").write_bytes(before)
        path.with_suffix(".new").replace(path)
    return (path.read_bytes() if path.is_file() else None) != before


WAYS = ("remove", "write", "mend", "damage", "touch", "same size and time", "replace")
Changes = list[tuple[int, str]]
CHANGES = st.lists(st.tuples(st.integers(0, PICTURES - 1), st.sampled_from(WAYS)), max_size=2)


@pytest.mark.minutes
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stop=st.integers(0, PICTURES), first=CHANGES, stop_again=st.integers(0, PICTURES), second=CHANGES)
def test_the_result_is_always_that_of_a_fresh_import(
    tmp_path_factory: pytest.TempPathFactory,
    workers: Workers,
    config: ImportConfig,
    stop: int,
    first: Changes,
    stop_again: int,
    second: Changes,
) -> None:
    check(tmp_path_factory.mktemp("changes"), workers, config, [(stop, first), (stop_again, second)])


def test_the_result_is_that_of_a_fresh_import_and_the_rest_is_kept(
    tmp_path: Path, workers: Workers, config: ImportConfig
) -> None:
    first = [(0, "same size and time"), (1, "touch"), (2, "remove"), (PICTURES - 1, "mend")]
    check(tmp_path / "changes", workers, config, [(4, first), (1, [(0, "mend"), (4, "damage"), (5, "replace")])])


def check(root: Path, workers: Workers, config: ImportConfig, turns: list[tuple[int, Changes]]) -> None:
    """Of each turn: import until so many pieces are done, change pictures, go on, and compare with a fresh import."""
    root.mkdir(exist_ok=True)
    home, output = make_home(root / "home"), root / "out"
    for turn, (most, changes) in enumerate(turns):
        workers.done, workers.most = [], most
        interrupted = False
        try:
            go(config, home, output)
        except KeyboardInterrupt:
            interrupted = True
        did = list(workers.done)
        changed = {number for number, how in changes if change(home, number, how)}
        workers.done, workers.most = [], 1_000
        found = go(config, home, output)
        expected = ((set(range(PICTURES)) - set(did)) if interrupted else set()) | changed
        # A picture that was changed back is the same; one that was never done has to be done once.
        assert set(workers.done) <= expected
        assert len(set(workers.done)) == len(workers.done)
        other = root / f"fresh{turn}"
        fresh = go(config, home, other)
        assert found.report["digest"] == fresh.report["digest"]
        assert {**found.report, "seconds": 0} == {**fresh.report, "seconds": 0}
        ours, theirs = (quarantine_file(place, "mine") for place in (output, other))
        assert ours.is_file() == theirs.is_file()
        assert not ours.is_file() or pq.read_table(ours) == pq.read_table(theirs)
        workers.done = []
        assert go(config, home, output).before
        assert not workers.done
    shutil.rmtree(root)


def test_what_is_told(home: Path, config: ImportConfig, workers: Workers, capsys: pytest.CaptureFixture[str]) -> None:
    output = home.parent / "out"
    first = go(config, home, output).report
    assert first["reasons"] == {"image_truncated": 2, "path_missing": 2}
    change(home, 2, "write")
    workers.done = []
    second = go(config, home, output)
    assert not second.before
    assert workers.done == [2]
    assert second.report["digest"] != first["digest"]
    assert "such as 2.png: 1 of 8 pieces are imported again" in capsys.readouterr().err
    assert not (output / ".import").exists()
    assert sorted(path.name for path in kept_directory(output, "mine").iterdir()) == [
        *(f"{number:06d}" for number in range(8)),
        "kept.json",
    ]


def test_a_touched_picture_is_read_once_and_not_imported(home: Path, config: ImportConfig, workers: Workers) -> None:
    output = home.parent / "out"
    go(config, home, output)
    for path in home.glob("*.png"):
        os.utime(path, ns=(10**18, 10**18))
    assert go(config, home, output).before
    noted = next(iter(media_of(kept_directory(output, "mine") / "000000" / LOOKS)))
    assert noted[0].look.split()[1] == str(10**18)


def test_a_corpus_stays_when_its_media_are_gone(
    home: Path, config: ImportConfig, workers: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    output = home.parent / "out"
    first = go(config, home, output).report
    for path in home.glob("*.png"):
        path.unlink()
    assert go(config, home, output).before
    assert "6 of the 6 media that mine was made of are gone" in capsys.readouterr().err
    assert json.loads((output / "import.json").read_text())["sources"]["mine"] == first
    assert go(config, home, output, fresh=True).report["records"] == 0


def test_an_interrupted_import_stops_when_its_media_are_gone(
    home: Path, config: ImportConfig, workers: Workers
) -> None:
    workers.most = 4
    with pytest.raises(KeyboardInterrupt):
        go(config, home, home.parent / "out")
    moved = home.with_name("moved")
    moved.mkdir()
    for path in home.glob("*.png"):
        path.rename(moved / path.name)
    workers.most = 1_000
    with pytest.raises(DataError, match="4 of the 4 media that are imported already are gone"):
        go(config, home, home.parent / "out")
    for path in moved.iterdir():
        path.rename(home / path.name)
    workers.done = []
    assert go(config, home, home.parent / "out").report["records"] == 12
    assert len(workers.done) == 4


def test_what_came_from_quarantine_is_not_lost(home: Path, config: ImportConfig, workers: Workers) -> None:
    output = home.parent / "out"
    go(config, home, output)
    change(home, PICTURES - 1, "mend")
    joined = go(config, home, output, quarantine=output / "quarantine").report
    assert (joined["records"], joined["quarantined"]) == (14, 2)
    assert go(config, home, output).before  # that it is there now is known
    change(home, PICTURES - 1, "write")
    with pytest.raises(DataError, match=r"such as 7\.png; rows of its quarantine have been imported since"):
        go(config, home, output)
    change(home, PICTURES - 1, "mend")
    change(home, 0, "write")
    with pytest.raises(DataError, match="--fresh"):
        go(config, home, output)
    assert go(config, home, output, fresh=True).report["records"] == 14


def test_a_mended_quarantine_is_not_written_over(home: Path, config: ImportConfig, workers: Workers) -> None:
    output = home.parent / "out"
    go(config, home, output)
    path = quarantine_file(output, "mine")
    pq.write_table(pq.read_table(path).slice(1), path)
    change(home, 0, "write")
    with pytest.raises(DataError, match="was mended since"):
        go(config, home, output)


def test_a_corpus_whose_looks_are_not_there_is_left_alone(
    home: Path, config: ImportConfig, workers: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    output = home.parent / "out"
    go(config, home, output)
    shutil.rmtree(output / "probes")
    change(home, 0, "write")
    assert go(config, home, output).before
    assert "they were not compared" in capsys.readouterr().err


def test_a_shard_that_is_not_as_it_was_is_made_again(home: Path, config: ImportConfig, workers: Workers) -> None:
    output = home.parent / "out"
    digest = go(config, home, output).report["digest"]
    (output / "mine-00001.parquet").write_bytes(b"damaged")
    change(home, 3, "write")
    workers.done = []
    go(config, home, output)
    assert workers.done == [1, 3]
    change(home, 3, "mend")
    assert go(config, home, output).report["digest"] == digest
    assert pq.read_metadata(output / "mine-00001.parquet").num_rows == 3


@pytest.mark.parametrize(
    ("owner", "name", "again"),
    [(finished, "_strip", True), (finished, "whole_file", False), (shutil, "rmtree", True), (Path, "rename", False)],
)
def test_the_end_may_be_interrupted_anywhere(
    home: Path,
    config: ImportConfig,
    workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    again: bool,
) -> None:
    """Of a first import, and of one that replaces pieces; what media looked like is known in any case."""
    output = home.parent / "out"
    if again:
        go(config, home, output)
        change(home, 1, "write")

    original = getattr(owner, name)

    def stop(*arguments: Any, **options: Any) -> Any:
        if (output / ".import" / "mine" / "commit.json").is_file():
            raise KeyboardInterrupt
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stop)
        with pytest.raises(KeyboardInterrupt):
            go(config, home, output)
    done = go(config, home, output)
    assert not done.before
    assert done.report["digest"] == go(config, home, home.parent / "fresh").report["digest"]
    assert not (output / ".import").exists()
    change(home, 2, "write")
    workers.done = []
    found = go(config, home, output)
    assert workers.done == [2]
    assert found.report["digest"] == go(config, home, home.parent / "fresh").report["digest"]


def test_texts_leave_nothing_to_compare(tmp_path: Path, configure: Configure, workers: Workers) -> None:
    (tmp_path / "rows.jsonl").write_text('{"q": "a", "p": "b"}\n')
    go(configure(SOURCE), tmp_path, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "probes").iterdir()] == ["mine-00000.parquet"]


def test_a_folder_is_compared_too(home: Path, configure: Configure, workers: Workers) -> None:
    for path in home.glob("*.png"):
        path.with_suffix(".txt").write_text(f"picture {path.stem}")
    mapping = {
        **IMAGE_MAPPING,
        "query": [{"modality": "text", "column": "text"}],
        "positives": [[{"modality": "image", "column": "file"}]],
    }
    folder = {"kind": "folder", "path": ".", "modality": "image"}
    (home / "rows.jsonl").unlink()
    config = configure(folder, mapping=mapping, sizes={"piece_rows": 1})
    output = home.parent / "out"
    go(config, home, output)
    change(home, 4, "write")
    workers.done = []
    found = go(config, home, output)
    assert workers.done == [4]
    assert found.report["digest"] == go(config, home, home.parent / "fresh").report["digest"]


def test_looks(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert local_look(path) == local_look(tmp_path) == local_look("a\0b") == ABSENT
    path.write_bytes(b"abc")
    assert local_look(path).startswith(f"{UNSURE}3 ")  # another change could have the same time
    assert remote_look({"size": 3, "ETag": '"x"', "name": "a"}) == 'size=3 etag="x"'
    assert remote_look({"Content-Length": "3", "Date": "now"}) == f"{UNSURE} size=3"


def tar_home(home: Path, form: str) -> Path:
    """A tar of pictures whose members all have one time."""
    home.mkdir()
    (home / f"a.{form}").write_bytes(tar_bytes(form, {}))
    return home


def tar_bytes(form: str, other: dict[int, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number in range(PICTURES):
            data = other.get(number, plain_picture(number))
            for name, held in ((f"{number}.txt", f"picture {number}".encode()), (f"{number}.png", data)):
                member = tarfile.TarInfo(name)
                member.size = len(held)
                tar.addfile(member, io.BytesIO(held))
    return PACK[form](buffer.getvalue()) if form in PACK else buffer.getvalue()


def plain_picture(number: int) -> bytes:
    """Of one size, whatever is on it."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 2 * number, 3 * number)).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["tar", *(pytest.param(form, marks=pytest.mark.minutes) for form in PACK)])
def test_a_member_of_a_tar_that_is_another_of_its_size_and_time_is_noticed(
    tmp_path: Path, configure: Configure, workers: Workers, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    mapping = {
        **IMAGE_MAPPING,
        "query": [{"modality": "text", "column": "txt"}],
        "positives": [[{"modality": "image", "column": "png"}]],
    }
    config = configure({"kind": "webdataset", "path": f"a.{form}"}, mapping=mapping, sizes={"piece_rows": PIECE})
    home, output = tar_home(tmp_path / "home", form), tmp_path / "out"
    path = home / f"a.{form}"
    os.utime(path, ns=(10**18, 10**18))
    first = go(config, home, output).report
    assert go(config, home, output).before
    path.write_bytes(tar_bytes(form, {5: plain_picture(99)}))
    os.utime(path, ns=(10**18, 10**18))
    workers.done = []
    found = go(config, home, output)
    assert workers.done == [2]
    assert f"rows 4 to 5 in a.{form}: 1 of 4 pieces are imported again" in capsys.readouterr().err
    fresh = go(config, home, tmp_path / "fresh").report
    assert found.report["digest"] == fresh["digest"] != first["digest"]
    # A copy of the same content is read, and nothing is imported; an interrupted import compares as well.
    path.write_bytes(path.read_bytes())
    assert go(config, home, output).before
    workers.done, workers.most = [], 3
    with pytest.raises(KeyboardInterrupt):
        go(config, home, tmp_path / "broken")
    path.write_bytes(tar_bytes(form, {}))
    workers.done, workers.most = [], 1_000
    assert go(config, home, tmp_path / "broken").report["digest"] == first["digest"]
    assert workers.done == [2, 3]

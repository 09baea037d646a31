"""Compressed tars: the same rows and the same corpus as plain ones, within limits, and damage told."""

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.importing.config import ImportConfig, Unpacking
from data.importing.making import Maker
from data.importing.pieces import import_piece
from data.importing.places import Access, stored
from data.importing.readers.open import open_source
from data.importing.readers.packed import WINDOW, Unpacked, packing_of
from data.importing.rows import Row, Stored, Unreadable, from_json
from tests.data.importing.conftest import Configure, ReadAll
from tests.data.importing.test_containers import PICTURES, TAR_MAPPING, add, write_tar

LIMITS = Unpacking()


def zstd(data: bytes) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(data)
    return buffer.getvalue().to_pybytes()


def two_members(data: bytes) -> bytes:
    """As ``pigz -i`` and ``cat`` make them."""
    half = len(data) // 2
    return gzip.compress(data[:half]) + gzip.compress(data[half:])


PACK: dict[str, Any] = {"tar.gz": gzip.compress, "tgz": two_members, "tar.zst": zstd}


def write_packed(folder: Path, form: str, **options: Any) -> bytes:
    write_tar(folder / "plain.tar", **options)
    data = (folder / "plain.tar").read_bytes()
    (folder / f"a.{form}").write_bytes(PACK[form](data))
    return data


def imported(folder: Path, config: ImportConfig) -> tuple[list[str], list[str]]:
    """Digests of the cuts of a source, and of the shards that come of them."""
    cuts, shards = [], []
    reader, access = open_source(config, home=folder, work=folder)
    maker = Maker(config, access)
    for number, cut in enumerate(reader.cuts(config.piece_rows)):
        target = folder / "work" / "pieces" / f"{number}"
        done = import_piece(config, reader, maker, cut, target, ids=True)
        assert done.records == done.rows == cut.rows
        cuts.append(cut.digest)
        shards += [part["sha256"] for part in done.parts]
    return cuts, shards


def test_a_packed_import_is_that_of_the_plain_tar(tmp_path: Path, configure: Configure) -> None:
    found = {}
    for count, forms in ((7, PACK), (6, ["tar.gz"])):
        for form in forms:
            write_packed(tmp_path, form, count=count)
            for path in ("plain.tar", f"a.{form}"):
                config = configure({"kind": "webdataset", "path": path}, mapping=TAR_MAPPING, sizes={"piece_rows": 2})
                found[count, path] = imported(tmp_path, config)
                shutil.rmtree(tmp_path / "work")
    first = found[7, "plain.tar"]
    assert len(first[0]) == len(first[1]) == 4
    assert all(one == first for (count, _), one in found.items() if count == 7)
    assert found[6, "plain.tar"] == found[6, "a.tar.gz"] != first


@pytest.mark.parametrize("form", PACK)
def test_media_of_the_quarantine_are_found_again(
    tmp_path: Path, configure: Configure, read_all: ReadAll, form: str
) -> None:
    write_packed(tmp_path, form)
    config = configure({"kind": "webdataset", "path": f"a.{form}"}, mapping=TAR_MAPPING)
    access = Access(config.places, str(tmp_path))
    for row in [row for row in read_all(config, 3) if isinstance(row, Row)][::-1]:  # back in the file
        value = from_json(row.raw)["png"]
        assert isinstance(value, Stored)
        assert value.data is None
        assert stored(access, value, 10**6) == PICTURES[row.number]


def test_cuts_in_order_unpack_a_file_once(
    tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_packed(tmp_path, "tar.gz")
    begun = []
    restart = Unpacked._restart
    monkeypatch.setattr(Unpacked, "_restart", lambda self: (begun.append(1), restart(self))[1])
    config = configure({"kind": "webdataset", "path": "a.tar.gz"}, mapping=TAR_MAPPING)
    reader, _ = open_source(config, home=tmp_path, work=tmp_path)
    cuts = list(reader.cuts(1))
    worker, _ = open_source(config, home=tmp_path, work=tmp_path)
    begun.clear()
    rows = [row for cut in cuts for row in worker.read(cut)]
    assert len(rows) == len(cuts) == 7
    assert len(begun) == 1
    assert [row.number for row in worker.read(cuts[0])] == [0]  # what was before is there as well
    assert [row.number for row in worker.read(cuts[5])] == [5]


@pytest.mark.parametrize("form", ["tar.gz", "tgz"])
@pytest.mark.parametrize("cut", [0.5, 0.9, -3])
def test_a_packed_tar_that_ends_early_gives_what_is_before(
    tmp_path: Path, configure: Configure, read_all: ReadAll, form: str, cut: float
) -> None:
    write_packed(tmp_path, form)
    data = (tmp_path / f"a.{form}").read_bytes()
    (tmp_path / f"a.{form}").write_bytes(data[: int(len(data) * cut) if cut > 0 else int(cut)])
    rows = read_all(configure({"kind": "webdataset", "path": f"a.{form}"}, mapping=TAR_MAPPING), 2)
    assert isinstance(rows[-1], Unreadable)
    assert rows[-1].reason == "file_truncated"
    good = [row for row in rows if isinstance(row, Row) and "png" in row.values]
    assert len(good) == 7 if cut == -3 else 2 <= len(good) < 7
    assert [row.number for row in rows] == list(range(len(rows)))


@pytest.mark.parametrize(("form", "reason"), [("tar.gz", "file_damaged"), ("tar.zst", "file_truncated")])
def test_damage_behind_the_last_sample_is_told(
    tmp_path: Path, configure: Configure, read_all: ReadAll, form: str, reason: str
) -> None:
    write_packed(tmp_path, form)
    path = tmp_path / f"a.{form}"
    data = bytearray(path.read_bytes())
    data[-6] ^= 0xFF  # the sum
    path.write_bytes(data if form == "tar.gz" else data[:-3])
    rows = read_all(configure({"kind": "webdataset", "path": f"a.{form}"}, mapping=TAR_MAPPING))
    assert isinstance(rows[-1], Unreadable)
    assert rows[-1].reason == reason, rows[-1].message


def bomb(path: Path, megabytes: int) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file, tarfile.open(fileobj=file, mode="w|") as tar:
        add(tar, "a.txt", b"fine")
        add(tar, "a.json", json.dumps({"place": {"city": "x"}}).encode())
        info = tarfile.TarInfo("b.png")
        info.size = megabytes << 20
        tar.addfile(info, io.BytesIO(bytes(info.size)))


@pytest.mark.parametrize("unpacking", [{"max_ratio": 50}, {"max_bytes": 1 << 20}])
def test_a_bomb_is_one_refused_row(
    tmp_path: Path, configure: Configure, read_all: ReadAll, unpacking: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.importing.readers.packed.FREE_BYTES", 1 << 20)
    bomb(tmp_path / "a.tar.gz", 8)
    source = {"kind": "webdataset", "path": "a.tar.gz"}
    rows = read_all(configure({**source, "unpacking": unpacking}, mapping=TAR_MAPPING))
    last = rows[-1]
    assert isinstance(last, Unreadable)
    assert last.reason == "file_too_large"
    assert f"source.unpacking.{next(iter(unpacking))}" in last.message
    assert isinstance(rows[0], Row)
    assert rows[0].values["txt"] == "fine"
    assert len(read_all(configure({**source, "unpacking": {"max_ratio": 1000}}, mapping=TAR_MAPPING))) == 2


def test_memory_does_not_grow_with_what_is_unpacked(tmp_path: Path, configure: Configure, read_all: ReadAll) -> None:
    import tracemalloc

    bomb(tmp_path / "a.tar.gz", 16)
    config = configure(
        {"kind": "webdataset", "path": "a.tar.gz"}, mapping=TAR_MAPPING, limits={"max_media_bytes": 1000}
    )
    read_all(config)
    tracemalloc.start()
    rows = read_all(config)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 2
    assert peak < 3 << 20


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, 600_000), st.integers(0, 200_000)), max_size=8),
    st.sampled_from(["tar.gz", "tgz", "tar.zst"]),
)
def test_it_reads_as_the_plain_file_does(moves: list[tuple[int, int]], form: str) -> None:
    unpacked = Unpacked(io.BytesIO(_PACKED[form]), packing_of(io.BytesIO(_PACKED[form])) or "", LIMITS)
    for offset, size in moves:
        unpacked.seek(offset)
        assert unpacked.read(size) == _PLAIN[offset : offset + size]
        assert len(unpacked._window) <= WINDOW + (1 << 21)
    assert unpacked.fault is None


_PLAIN = np.random.default_rng(0).integers(0, 60, 500_000, dtype=np.uint8).tobytes()
_PACKED = {form: pack(_PLAIN) for form, pack in PACK.items()}

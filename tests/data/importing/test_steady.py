"""A network that fails in the middle of a source: it is tried again, else the import stops, and goes on later."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.importing.config import ImportConfig
from data.importing.looks import LOOKS, media_of
from data.importing.making import Maker
from data.importing.pieces import ROWS, import_piece
from data.importing.readers.open import open_source
from data.importing.rows import Row, Unreadable
from data.importing.steady import steady
from model.errors import DataError
from tests.conftest import make_png
from tests.data.importing.conftest import IMAGE_MAPPING, TEXT_MAPPING, Configure
from tests.data.importing.test_packed import PACK

PLACES = {"schemes": ["flaky"], "hosts": ["bucket"], "retries": 2}


class FlakyFile(io.BytesIO):
    """A file whose connection breaks once so many bytes of its file system have been read."""

    def __init__(self, system: "Flaky", data: bytes, *, known: bool) -> None:
        super().__init__(data)
        self.system = system
        if known:
            self.size = len(data)

    def read(self, size: int | None = -1) -> bytes:
        wanted = len(self.getbuffer()) if size is None or size < 0 else size
        if self.system.breaks and wanted > self.system.left:
            self.system.breaks -= 1
            self.system.left = max(self.system.every, wanted if self.system.every else 0)
            raise self.system.error
        found = super().read(wanted)
        self.system.left -= len(found)
        return found


class Flaky(MemoryFileSystem):
    """Files in memory behind a network that breaks after every so many bytes, for so many times."""

    protocol = "flaky"
    store: dict[str, Any] = {}  # noqa: RUF012 - as the class above
    pseudo_dirs = [""]  # noqa: RUF012
    every = left = 0
    breaks = 0
    opened = 0
    known = True
    error: Exception = ConnectionResetError(104, "Connection reset by peer")

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("flaky:/"))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode, **options)
        type(self).opened += 1
        return FlakyFile(self, super()._open(path, mode).getvalue(), known=self.known)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flaky]:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    monkeypatch.setattr("data.importing.steady.FIRST_PAUSE", 0)
    monkeypatch.setattr("data.importing.steady.BUFFER", 4096)
    system = fsspec.filesystem("flaky")
    system.store.clear()
    system.breaks, Flaky.opened = 0, 0
    yield system
    system.breaks = 0


def breaking(system: Flaky, *, every: int, times: int) -> None:
    system.every = system.left = every
    system.breaks = times


def tar_of(count: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number in range(count):
            for name, data in ((f"{number}.txt", f"picture {number}".encode()), (f"{number}.png", make_png(number))):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def parquet_of(count: int) -> bytes:
    buffer = io.BytesIO()
    columns = {"txt": [f"picture {n}" for n in range(count)], "png": [make_png(n) for n in range(count)]}
    pq.write_table(pa.table(columns), buffer, row_group_size=3)
    return buffer.getvalue()


def lines_of(count: int) -> bytes:
    return b"".join(json.dumps({"q": f"{n}", "p": "word " * 100}).encode() + b"\n" for n in range(count))


TAR_MAPPING = {
    **TEXT_MAPPING,
    "query": [{"modality": "text", "column": "txt"}],
    "positives": [[{"modality": "image", "column": "png"}]],
}
FORMS: dict[str, tuple[str, Callable[[], bytes], dict[str, Any]]] = {
    "a.tar": ("webdataset", lambda: tar_of(9), TAR_MAPPING),
    **{
        f"a.{form}": ("webdataset", lambda pack=pack: pack(tar_of(9)), TAR_MAPPING)  # type: ignore[misc]
        for form, pack in PACK.items()
    },
    "a.parquet": ("parquet", lambda: parquet_of(9), TAR_MAPPING),
    "a.jsonl": ("jsonl", lambda: lines_of(60), TEXT_MAPPING),
}


def config_of(name: str, configure: Configure) -> ImportConfig:
    kind, _, mapping = FORMS[name]
    source = {"kind": kind, "path": f"flaky://bucket/{name}"}
    return configure(source, mapping=mapping, sizes={"piece_rows": 4}, places=PLACES)


def read(config: ImportConfig, folder: Path) -> list[Row | Unreadable]:
    reader, _ = open_source(config, home=folder, work=folder)
    return [row for cut in reader.cuts(4) for row in reader.read(cut)]


@pytest.mark.parametrize("name", FORMS)
def test_what_breaks_is_read_on(name: str, flaky: Flaky, tmp_path: Path, configure: Configure) -> None:
    data = FORMS[name][1]()
    flaky.pipe_file(f"/bucket/{name}", data)
    config = config_of(name, configure)
    whole = read(config, tmp_path)
    assert not [row for row in whole if isinstance(row, Unreadable)]
    breaking(flaky, every=max(5000, len(data) // 5), times=1000)
    assert read(config, tmp_path) == whole
    assert 1000 - flaky.breaks >= 2


@pytest.mark.parametrize("name", FORMS)
def test_what_stays_broken_ends_the_import_and_is_no_damage(
    name: str, flaky: Flaky, tmp_path: Path, configure: Configure
) -> None:
    """At the first read, in the middle, and at the end; while it is cut, and while it is read."""
    data = FORMS[name][1]()
    flaky.pipe_file(f"/bucket/{name}", data)
    config = config_of(name, configure)
    for most in (0, len(data) // 2):
        breaking(flaky, every=0, times=1000)
        flaky.left = most
        with pytest.raises(DataError, match=r"cannot be reached: ConnectionResetError[\s\S]*not taken for damaged"):
            read(config, tmp_path)
    flaky.breaks = 0
    reader, access = open_source(config, home=tmp_path, work=tmp_path)
    cuts = list(reader.cuts(4))
    reader, access = open_source(config, home=tmp_path, work=tmp_path)
    breaking(flaky, every=0, times=1000)
    target = tmp_path / "pieces" / "000001"
    maker = Maker(config, access)
    with pytest.raises(DataError, match="the same command goes on where it was"):
        import_piece(config, reader, maker, cuts[-1], target, ids=False)
    assert not target.exists()
    flaky.breaks = 0
    done = import_piece(config, reader, Maker(config, access), cuts[-1], target, ids=False)
    assert done.records == done.rows == cuts[-1].rows
    assert not (target / ROWS).exists()


def test_any_error_of_a_file_system_counts(flaky: Flaky, tmp_path: Path, configure: Configure) -> None:
    class PayloadError(Exception):
        """Of a library, no OSError."""

    flaky.pipe_file("/bucket/a.tar", tar_of(2))
    breaking(flaky, every=0, times=1000)
    flaky.error = PayloadError("half a response")
    with pytest.raises(DataError, match="PayloadError half a response; 3 attempts"):
        read(config_of("a.tar", configure), tmp_path)
    del flaky.error


def test_a_truncated_archive_stays_damage(flaky: Flaky, tmp_path: Path, configure: Configure) -> None:
    flaky.pipe_file("/bucket/a.tar", tar_of(9)[:20_000])
    *rows, last = read(config_of("a.tar", configure), tmp_path)
    assert rows
    assert isinstance(last, Unreadable)
    assert last.reason == "file_truncated"


def test_a_missing_file_is_told_at_once(flaky: Flaky, tmp_path: Path, configure: Configure) -> None:
    with pytest.raises(DataError, match=r"flaky://bucket/a\.parquet cannot be opened: FileNotFoundError"):
        read(config_of("a.parquet", configure), tmp_path)
    assert Flaky.opened == 1


def test_a_connection_that_ends_too_early_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 40
    files = iter([data[:5000], data[:7000], data])

    monkeypatch.setattr("data.importing.steady.FIRST_PAUSE", 0)

    def opener() -> io.BytesIO:
        file = io.BytesIO(next(files))
        file.size = len(data)  # type: ignore[attr-defined]
        return file

    with steady("flaky://bucket/x", 2, opener) as file:
        assert file.read() == data


def test_another_file_of_that_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.importing.steady.FIRST_PAUSE", 0)
    sizes = iter([20, 30])

    class Broken(io.BytesIO):
        def __init__(self) -> None:
            super().__init__(bytes(20))
            self.size = next(sizes)

        def read(self, _: int | None = -1) -> bytes:
            raise TimeoutError

    with steady("flaky://bucket/x", 2, Broken) as file, pytest.raises(DataError, match="20 bytes and now has 30"):
        file.read()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from(["read", "seek", "line"]), st.integers(0, 3000)), max_size=12),
    every=st.integers(700, 4000),
    stream=st.booleans(),
)
def test_it_reads_as_the_file_does(
    monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, int]], every: int, stream: bool
) -> None:
    """Whatever is done with it, however it breaks; also over a stream, which cannot be sought in."""
    monkeypatch.setattr("data.importing.steady.FIRST_PAUSE", 0)
    monkeypatch.setattr("data.importing.steady.BUFFER", 512)
    data = b"".join(f"line {n} {'x' * (n * 37 % 90)}\n".encode() for n in range(50))
    system = Flaky(skip_instance_cache=True)
    breaking(system, every=every, times=3 if stream else 10_000)

    class Stream(FlakyFile):
        def seek(self, offset: int, whence: int = 0) -> int:
            if stream:
                raise ValueError("Cannot seek streaming HTTP file")
            return super().seek(offset, whence)

    plain = io.BytesIO(data)
    with steady("flaky://bucket/x", 9, lambda: Stream(system, data, known=True)) as file:
        for what, size in steps:
            if what == "seek":
                assert file.seek(size) == plain.seek(size)
            elif what == "line":
                assert file.readline(size) == plain.readline(size)
            else:
                assert file.read(size) == plain.read(size)
            assert file.tell() == plain.tell()


def test_remote_media_are_compared_by_what_their_server_says(
    flaky: Flaky, tmp_path: Path, configure: Configure
) -> None:
    flaky.pipe_file("/bucket/0.png", make_png(0))
    flaky.pipe_file("/bucket/rows.jsonl", json.dumps({"q": "a", "image": "0.png"}).encode())
    source = {"kind": "jsonl", "path": "flaky://bucket/rows.jsonl"}
    config = configure(source, mapping=IMAGE_MAPPING, places={**PLACES, "retries": 0})
    reader, access = open_source(config, home=tmp_path, work=tmp_path)
    (cut,) = reader.cuts(4)
    assert import_piece(config, reader, Maker(config, access), cut, tmp_path / "pieces" / "0", ids=False).records == 1
    ((noted,),) = media_of(tmp_path / "pieces" / "0" / LOOKS)
    assert (noted.value, noted.refused) == ("0.png", False)
    assert noted.look == access.look("0.png")
    flaky.pipe_file("/bucket/0.png", make_png(1))
    assert noted.look != access.look("0.png")
    flaky.rm_file("/bucket/0.png")
    assert access.look("0.png") == "absent"
    flaky.info = lambda *_, **__: (_ for _ in ()).throw(ConnectionError("down"))  # type: ignore[method-assign]
    try:
        with pytest.raises(DataError, match=r"whether flaky://bucket/0\.png is as it was imported"):
            access.look("0.png")
    finally:
        del flaky.info

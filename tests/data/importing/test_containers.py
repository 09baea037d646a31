"""Sources that hold media: Parquet, Arrow, tars; read as their own libraries wrote them."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.importing.places import Access, stored
from data.importing.readers.columnar import ColumnarReader
from data.importing.refusal import Refused
from data.importing.rows import Cut, Row, Stored, Unreadable, from_json
from model.errors import DataError
from tests.conftest import make_png
from tests.data.importing.conftest import IMAGE_MAPPING, TEXT_MAPPING, Configure, ReadAll

PICTURES = [make_png(i) for i in range(7)]


def ok(rows: list[Row | Unreadable]) -> list[Row]:
    assert all(isinstance(row, Row) for row in rows), rows
    return [row for row in rows if isinstance(row, Row)]


def again(row: Row, access: Access, column: str) -> bytes:
    """Bytes of a medium whose row went through the quarantine."""
    value = from_json(row.raw)[column]
    assert isinstance(value, Stored)
    assert value.data is None
    return stored(access, value, 10**6)


def write_parquet(path: Path, rows: int = 7, group: int = 3) -> None:
    table = pa.table(
        {
            "q": [f"picture {i}" for i in range(rows)],
            "image": [{"bytes": PICTURES[i], "path": f"{i}.png"} for i in range(rows)],
            "unused": [b"x" * 10] * rows,
            "nested": [{"deep": [{"bytes": PICTURES[i], "path": None}]} for i in range(rows)],
        }
    )
    pq.write_table(table, path, row_group_size=group)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_parquet_with_media(tmp_path: Path, configure: Configure, read_all: ReadAll, size: int) -> None:
    write_parquet(tmp_path / "x.parquet")
    config = configure({"kind": "parquet", "path": "x.parquet"}, mapping=IMAGE_MAPPING)
    rows = ok(read_all(config, size))
    assert [row.number for row in rows] == list(range(7))
    assert [row.values["image"].data for row in rows] == PICTURES
    assert "unused" not in rows[0].values  # media of no use are not read
    assert "nested" not in rows[0].values
    access = Access(config.places, str(tmp_path))
    assert [again(row, access, "image") for row in rows] == PICTURES


def test_nested_media_are_found(tmp_path: Path, configure: Configure, read_all: ReadAll) -> None:
    write_parquet(tmp_path / "x.parquet")
    part = {"modality": "image", "column": "nested.deep"}
    config = configure({"kind": "parquet", "path": "x.parquet"}, mapping={**TEXT_MAPPING, "positives": [[part]]})
    rows = ok(read_all(config))
    value = rows[5].values["nested"]["deep"][0]
    assert value.data == PICTURES[5]
    revived = from_json(rows[5].raw)["nested"]["deep"][0]
    assert stored(Access(config.places, str(tmp_path)), revived, 10**6) == PICTURES[5]


def test_a_medium_that_is_gone_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", rows=2)
    place = {"file": str(tmp_path / "x.parquet"), "row": 5, "column": "image", "size": 3}
    with pytest.raises(Refused) as refused:
        stored(_access(tmp_path), Stored(place), 10**6)
    assert refused.value.reason == "media_unreachable"
    with pytest.raises(Refused) as refused:
        stored(_access(tmp_path), Stored({**place, "size": 10**9}), 10**6)
    assert refused.value.reason == "too_large"


def _access(base: Path) -> Access:
    from data.importing.config import Places

    return Access(Places(), str(base))


def test_a_file_that_is_no_parquet_is_one_refused_row(tmp_path: Path, configure: Configure, read_all: ReadAll) -> None:
    write_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    write_parquet(tmp_path / "c.parquet", rows=1)
    rows = read_all(configure({"kind": "parquet", "path": "*.parquet"}, mapping=IMAGE_MAPPING))
    assert [row.number for row in rows] == list(range(9))
    broken = rows[7]
    assert isinstance(broken, Unreadable)
    assert broken.reason == "file_unreadable"
    assert json.loads(broken.raw) == {"_file": str(tmp_path / "b.parquet")}


def test_damage_inside_counts_every_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, rows=7, group=1)
    data = bytearray(path.read_bytes())
    group = pq.read_metadata(path).row_group(3)
    column = next(c for i in range(group.num_columns) if (c := group.column(i)).path_in_schema == "image.bytes")
    at = column.dictionary_page_offset or column.data_page_offset
    data[at : at + 40] = b"\0" * 40
    path.write_bytes(bytes(data))
    reader = ColumnarReader(_access(tmp_path), str(path), {"image"})
    rows = [row for cut in reader.cuts(100) for row in reader.read(cut)]
    assert len(rows) == 7
    assert [row.number for row in rows] == list(range(7))
    assert [row.number for row in rows if isinstance(row, Unreadable)] == [3]


def test_parquet_digest_knows_content(tmp_path: Path) -> None:
    digests = []
    for word in ("a", "b"):
        pq.write_table(pa.table({"q": [word]}), tmp_path / "x.parquet")
        reader = ColumnarReader(_access(tmp_path), str(tmp_path / "x.parquet"), {"q"})
        digests += [cut.digest for cut in reader.cuts(10)]
    assert digests[0] != digests[1]


@pytest.fixture(scope="module")
def dataset() -> Any:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "q": datasets.Value("string"),
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    rows = {
        "q": [f"picture {i}" for i in range(7)],
        "image": [{"bytes": picture, "path": None} for picture in PICTURES],
        "label": [i % 2 for i in range(7)],
    }
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.mark.parametrize("form", ["disk", "dict", "hub"])
def test_directories_of_datasets(
    tmp_path: Path, configure: Configure, read_all: ReadAll, dataset: Any, form: str
) -> None:
    import datasets

    folder = tmp_path / "set"
    if form == "disk":
        dataset.save_to_disk(str(folder), num_shards=2)
    elif form == "dict":
        datasets.DatasetDict({"train": dataset, "test": dataset.select([0])}).save_to_disk(str(folder))
    else:
        (folder / "data").mkdir(parents=True)
        dataset.select(range(4)).to_parquet(str(folder / "data" / "train-00000-of-00002.parquet"))
        dataset.select(range(4, 7)).to_parquet(str(folder / "data" / "train-00001-of-00002.parquet"))
    source = {"kind": "huggingface", "path": "set", **({"split": "train"} if form == "dict" else {})}
    mapping = {**IMAGE_MAPPING, "task": {"column": "label"}}
    for size in (1, 100):
        rows = ok(read_all(configure(source, mapping=mapping), size))
        assert [row.values["image"].data for row in rows] == PICTURES
        assert [row.values["label"] for row in rows] == [["cat", "dog"][i % 2] for i in range(7)]
        assert [row.number for row in rows] == list(range(7))
    assert again(rows[3], _access(tmp_path), "image") == PICTURES[3]


def test_several_splits_want_a_choice(tmp_path: Path, configure: Configure, read_all: ReadAll, dataset: Any) -> None:
    import datasets

    datasets.DatasetDict({"train": dataset, "test": dataset}).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(DataError, match=r"train, test; set source\.split"):
        read_all(configure({"kind": "huggingface", "path": "set"}, mapping=IMAGE_MAPPING))
    with pytest.raises(DataError, match="neither"):
        read_all(configure({"kind": "huggingface", "path": "."}, mapping=IMAGE_MAPPING))


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def write_tar(path: Path, count: int = 7, style: int = tarfile.PAX_FORMAT) -> None:
    with tarfile.open(path, "w", format=style) as tar:
        for i in range(count):
            key = f"{'long/' * 40}ü{i:04d}" if i == 2 else f"{i:04d}"
            add(tar, f"{key}.png", PICTURES[i])
            add(tar, f"{key}.txt", f"picture {i}".encode())
            add(tar, f"{key}.json", json.dumps({"place": {"city": f"c{i}"}}).encode())
            add(tar, f"{key}.seg.png", PICTURES[0])


TAR_MAPPING = {
    **TEXT_MAPPING,
    "query": [{"modality": "text", "column": "txt"}],
    "positives": [[{"modality": "image", "column": "png"}]],
    "group": {"column": "json.place.city"},
}


@pytest.mark.parametrize("style", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_tars(tmp_path: Path, configure: Configure, read_all: ReadAll, size: int, style: int) -> None:
    write_tar(tmp_path / "a.tar", style=style)
    write_tar(tmp_path / "b.tar", count=2, style=style)
    rows = ok(read_all(configure({"kind": "webdataset", "path": "*.tar"}, mapping=TAR_MAPPING), size))
    assert [row.number for row in rows] == list(range(9))
    assert [row.values["png"].data for row in rows] == [*PICTURES, *PICTURES[:2]]
    assert [row.values["txt"] for row in rows][:7] == [f"picture {i}" for i in range(7)]
    assert rows[4].values["json"] == {"place": {"city": "c4"}}
    assert rows[4].values["seg.png"].data is None  # not used, not read
    assert again(rows[4], _access(tmp_path), "png") == PICTURES[4]


def test_tars_as_webdataset_reads_them(tmp_path: Path, configure: Configure, read_all: ReadAll) -> None:
    webdataset = pytest.importorskip("webdataset")
    write_tar(tmp_path / "a.tar")
    theirs = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False, empty_check=False))
    ours = ok(read_all(configure({"kind": "webdataset", "path": "a.tar"}, mapping=TAR_MAPPING), 2))
    assert [row.values["__key__"] for row in ours] == [sample["__key__"] for sample in theirs]
    assert [row.values["png"].data for row in ours] == [sample["png"] for sample in theirs]


@pytest.mark.parametrize("cut", [0.5, 0.9])
def test_a_tar_that_ends_early_gives_what_is_before(
    tmp_path: Path, configure: Configure, read_all: ReadAll, cut: float
) -> None:
    write_tar(tmp_path / "a.tar")
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data[: int(len(data) * cut)])
    rows = read_all(configure({"kind": "webdataset", "path": "a.tar"}, mapping=TAR_MAPPING), 2)
    assert isinstance(rows[-1], Unreadable)
    assert rows[-1].reason == "file_truncated"
    whole = [row for row in rows if isinstance(row, Row) and "png" in row.values]
    assert len(whole) >= 2
    assert [row.number for row in rows] == list(range(len(rows)))


def test_foreign_tars(tmp_path: Path, configure: Configure, read_all: ReadAll) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:bz2") as tar:
        add(tar, "a.txt", b"x")
    (tmp_path / "b.tar").write_bytes(b"no tar at all" * 100)
    rows = read_all(configure({"kind": "webdataset", "path": "*.tar"}, mapping=TAR_MAPPING))
    assert [row.reason for row in rows if isinstance(row, Unreadable)] == ["file_compressed", "file_truncated"]


@pytest.mark.parametrize("how", ["header damaged", "header cut", "another behind"])
def test_an_end_that_is_none_is_told(tmp_path: Path, configure: Configure, read_all: ReadAll, how: str) -> None:
    write_tar(tmp_path / "a.tar", count=3)
    data = bytearray((tmp_path / "a.tar").read_bytes())
    with tarfile.open(tmp_path / "a.tar") as tar:
        at = tar.getmembers()[8].offset  # of the third sample
    if how == "header damaged":
        data[at + 5] ^= 1
    elif how == "header cut":
        del data[at + 100 :]
    else:
        data = data + data
    (tmp_path / "a.tar").write_bytes(data)
    rows = read_all(configure({"kind": "webdataset", "path": "a.tar"}, mapping=TAR_MAPPING))
    assert [getattr(row, "reason", None) for row in rows] == [None] * (len(rows) - 1) + ["file_truncated"]
    assert len(rows) == (4 if how == "another behind" else 3)


def test_a_header_of_gigabytes_is_not_read(tmp_path: Path, configure: Configure, read_all: ReadAll) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "a.txt", b"x")
    info = tarfile.TarInfo("h")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:1024] + info.tobuf(tarfile.USTAR_FORMAT) + whole[1024:])
    rows = read_all(configure({"kind": "webdataset", "path": "a.tar"}, mapping=TAR_MAPPING))
    assert isinstance(rows[1], Unreadable)
    assert "headers of more than" in rows[1].message


def test_members_that_cannot_be_read(tmp_path: Path, configure: Configure, read_all: ReadAll) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "a.json", b"{")
        add(tar, "b.txt", b"\xff")
        add(tar, "c.txt", b"one")
        add(tar, "c.txt", b"two")
        link = tarfile.TarInfo("d.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        add(tar, "d.txt", b"fine")
    rows = read_all(configure({"kind": "webdataset", "path": "a.tar"}, mapping=TAR_MAPPING))
    assert [getattr(row, "reason", None) for row in rows] == ["row_unparsable", "row_unparsable", "row_malformed", None]
    assert isinstance(rows[3], Row)
    assert rows[3].values == {"__key__": "d", "txt": "fine"}


def test_large_members_are_not_held(tmp_path: Path, configure: Configure, read_all: ReadAll) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "a.png", b"x" * 3000)
        add(tar, "a.txt", b"caption")
    config = configure({"kind": "webdataset", "path": "a.tar"}, mapping=TAR_MAPPING, limits={"max_media_bytes": 1000})
    (row,) = ok(read_all(config))
    assert row.values["png"].data is None
    with pytest.raises(Refused, match="3000 bytes"):
        stored(_access(tmp_path), row.values["png"], 1000)


def test_cuts_survive_the_plan(tmp_path: Path) -> None:
    cut = Cut(3, 4, {"file": "ü", "groups": [1]}, "x")
    assert Cut.from_json(cut.to_json()) == cut

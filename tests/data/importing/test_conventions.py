"""Folders with captions, and the forms that public corpora come in."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.engine import EngineConfig, start
from data.importing.config import ImportConfig
from data.importing.readers.coco import BATCH, items
from data.importing.rows import Row, Unreadable
from model.errors import DataError
from tests.data.importing.conftest import IMAGE_MAPPING, Configure, ReadAll

FOLDER = {"kind": "folder", "path": "pics", "modality": "image"}
SHORT = {"task": "t", "license": "CC0-1.0", "languages": ["en"]}


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def convention(source: dict[str, Any], **mapping: Any) -> ImportConfig:
    return ImportConfig.parse({"name": "mine", "source": source, "mapping": {**SHORT, **mapping}})


def test_a_folder_with_captions(tmp_path: Path, configure: Configure, read_all: ReadAll) -> None:
    write(
        tmp_path / "pics",
        {
            "b/cat.jpg": "",
            "b/cat.txt": " a cat\n",
            "b/cat.json": '{"tags": ["pet"], "file": "evil"}',
            "a.png": "",
            "orphan.txt": "x",
            ".hidden.png": "",
            "bad.png": "",
            "bad.json": "[1]",
            "Thumbs.db": "",
        },
    )
    for size in (1, 2, 100):
        rows = read_all(configure(FOLDER, mapping=IMAGE_MAPPING), size)
        names = [row.values["file"] if isinstance(row, Row) else row.reason for row in rows]
        assert names == ["Thumbs.db", "a.png", "row_unparsable", "media_missing", "b/cat.jpg"]
    cat = rows[-1]
    assert isinstance(cat, Row)
    assert cat.values == {"file": "b/cat.jpg", "stem": "cat", "folder": "b", "text": "a cat", "tags": ["pet"]}


def test_a_caption_that_changes_changes_the_source(tmp_path: Path, configure: Configure) -> None:
    from data.importing.readers.open import open_source

    write(tmp_path / "pics", {"a.png": "", "a.txt": "x"})
    config = configure(FOLDER, mapping=IMAGE_MAPPING)

    def digests() -> list[str]:
        return [cut.digest for cut in open_source(config, home=tmp_path, work=tmp_path)[0].cuts(10)]

    before = digests()
    assert digests() == before
    os.utime(tmp_path / "pics" / "a.txt", (1, 1))
    assert digests() != before


def test_no_folder(configure: Configure, read_all: ReadAll) -> None:
    with pytest.raises(DataError, match="is no folder"):
        read_all(configure(FOLDER, mapping=IMAGE_MAPPING))


def test_imagefolder(tmp_path: Path, read_all: ReadAll) -> None:
    write(tmp_path / "set", {"metadata.csv": "file_name,text\na/1.png,one\n", "a/1.png": ""})
    config = convention({"kind": "imagefolder", "path": "set"})
    (row,) = read_all(config)
    assert isinstance(row, Row)
    assert row.values == {"file_name": "a/1.png", "text": "one"}
    write(tmp_path / "set", {"metadata.jsonl": "{}"})
    with pytest.raises(DataError, match=r"metadata\.jsonl, metadata\.csv"):
        read_all(config)


def test_ljspeech(tmp_path: Path, read_all: ReadAll) -> None:
    write(tmp_path / "LJ", {"metadata.csv": 'LJ001-0001|He said "5|He said "five\nLJ001-0002|two\n'})
    config = convention({"kind": "ljspeech", "path": "LJ"})
    first, second = read_all(config)
    assert isinstance(first, Row)
    assert first.values == {"id": "LJ001-0001", "text": 'He said "5', "normalized": 'He said "five'}
    assert isinstance(second, Unreadable)
    assert second.reason == "row_malformed"


def test_common_voice(tmp_path: Path, read_all: ReadAll) -> None:
    write(tmp_path / "cv", {"validated.tsv": 'path\tsentence\tlocale\nx.mp3\tHallo "Welt\tde\n', "clips/x.mp3": ""})
    config = convention({"kind": "common_voice", "path": "cv"})
    (row,) = read_all(config)
    assert isinstance(row, Row)
    assert row.values["sentence"] == 'Hallo "Welt'
    assert config.mapping.license.constant == "CC0-1.0"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), JSON), st.sampled_from([None, 1]))
def test_a_json_object_in_pieces_is_the_object(value: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    expected = [(k, e) for k, v in value.items() for e in (v if isinstance(v, list) else [v])]
    try:
        text.decode()
    except UnicodeDecodeError:
        return
    assert list(items(io.BytesIO(text))) == expected


def test_json_longer_than_a_block_and_cut_json() -> None:
    value = {"images": [{"id": i, "file_name": "ü" * 1000} for i in range(3000)], "n": 12}
    text = json.dumps(value, ensure_ascii=False).encode()
    found = list(items(io.BytesIO(text)))
    assert [element for key, element in found if key == "images"] == value["images"]
    with pytest.raises(ValueError):  # noqa: PT011 - any
        list(items(io.BytesIO(text[:-5000])))


def test_coco(tmp_path: Path, read_all: ReadAll) -> None:
    start(EngineConfig(workers=1))
    count = BATCH + 5
    value = {
        "info": {"year": 2026},
        "annotations": [{"id": count - i, "image_id": i % 7, "caption": f"caption {i}"} for i in range(count)],
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 3} for i in range(6)],
    }
    (tmp_path / "captions.json").write_text(json.dumps(value))
    config = convention({"kind": "coco", "path": "captions.json", "images": "val"})
    rows = [row for row in read_all(config, 500) if isinstance(row, Row)]
    assert len(rows) == count
    assert [row.values["id"] for row in rows] == sorted(row.values["id"] for row in rows)
    by_id = {row.values["id"]: row.values for row in rows}
    assert by_id[count] == {"id": count, "image_id": 0, "caption": "caption 0", "file_name": "val/0.jpg"}
    assert by_id[count - 6]["file_name"] is None  # a caption without picture is refused later, by name
    (tmp_path / "captions.json").write_text('{"images": []}')
    with pytest.raises(DataError, match="no annotations"):
        read_all(config)


MALFORMED: list[Any] = [
    None,
    [],
    {},
    {"id": 3, "image_id": 1},
    {"id": "3", "image_id": 1, "caption": "x"},
    {"id": True, "image_id": 1, "caption": "x"},
    {"id": 2**63, "image_id": 1, "caption": "x"},
    {"id": 3, "image_id": 1.5, "caption": "x"},
    {"id": 3, "image_id": 1, "caption": ["x"]},
    {"id": 3, "image_id": 1, "caption": "\ud800"},
]


def test_a_malformed_annotation_is_one_refused_row(tmp_path: Path, read_all: ReadAll) -> None:
    start(EngineConfig(workers=1))
    good = [{"id": i, "image_id": i, "caption": f"caption {i}"} for i in (9, 1, 2)]
    images = [{"id": 1, "file_name": "1.jpg"}, {"id": 2}, "no picture", {"id": 9, "file_name": "9.jpg"}]
    value = {"images": images, "annotations": [good[0], *MALFORMED, *good[1:]]}
    (tmp_path / "captions.json").write_text(json.dumps(value))
    config = convention({"kind": "coco", "path": "captions.json", "images": "."})
    for size in (3, 100):
        rows = read_all(config, size)
        read = [row.values for row in rows if isinstance(row, Row)]
        assert [(one["id"], one["file_name"]) for one in read] == [(1, "1.jpg"), (2, None), (9, "9.jpg")]
        refused = [row for row in rows if isinstance(row, Unreadable)]
        assert {row.reason for row in refused} == {"row_malformed"}
        assert sorted(row.raw for row in refused) == sorted(map(json.dumps, MALFORMED))
        assert "captions.json: an annotation has to have id (int64), image_id" in refused[0].message
        assert [row.number for row in rows] == list(range(len(rows)))

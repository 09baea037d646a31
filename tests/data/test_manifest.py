"""The manifest says the same however a corpus is cut into pieces and shards, and which records use what."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data.scan as scanning
from data.manifest import Manifest, build_manifest, is_shard_of, scan
from data.probing import Unreadable, probe_shards
from data.shards import FORMAT, SCHEMA, shard_paths
from model.encoder import Limits
from tests.data.faults import FAULTS, PICTURES, SOURCE, Row, good_rows, part, record, text, write

LIMITS = Limits()


def manifest_of(corpus: Path) -> Manifest:
    scanned, first = [], 0
    for found in probe_shards(corpus, shard_paths(corpus), LIMITS):
        assert not isinstance(found, Unreadable)
        scanned.append(scan(found, first))
        first += scanned[-1].shard.records
    return build_manifest(scanned, allowed={"MIT", "Unicode-3.0"}, evaluation_only=("unseen",))


def rows_with_faults() -> list[Row]:
    """Good rows and those whose fault is in the row itself, which is quick."""
    cheap = [fault for fault in FAULTS.values() if not fault.media]
    return [*good_rows()[7:20], *({**record(n), **fault.changes(n)} for n, fault in enumerate(cheap, 100))]


@pytest.mark.parametrize(
    ("shard", "source", "legal"),
    [
        ("s.parquet", "s", True),
        ("s-00000.parquet", "s", True),
        ("s-12345.parquet", "s", True),
        ("s-1.parquet", "s", False),
        ("s-000001.parquet", "s", False),
        ("s-0000a.parquet", "s", False),
        ("t.parquet", "s", False),
        ("t-00000.parquet", "s", False),
        ("emoji-noto.parquet", "emoji-noto", True),
        ("emoji-noto.parquet", "emoji", False),
        ("a-00000.parquet", "a-00000", True),
        ("s-00000.parquet", None, False),
    ],
)
def test_names_of_shards(shard: str, source: str | None, legal: bool) -> None:
    assert is_shard_of(shard, source) is legal


@pytest.mark.parametrize("rows_at_once", [1, 7, 1000])
def test_pieces_of_any_size_give_the_same(rows_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / f"{SOURCE}.parquet", rows_with_faults(), PICTURES)
    whole = manifest_of(tmp_path)
    monkeypatch.setattr(scanning, "RECORD_ROWS", rows_at_once)
    monkeypatch.setattr(scanning, "MEDIA_ROWS_PER_GROUP", max(1, rows_at_once // 3))
    cut = manifest_of(tmp_path)
    for name in ("records", "media", "texts"):
        a, b = whole.table(name).astype(object), cut.table(name).astype(object)
        if name == "texts":  # the order of first appearance depends on the pieces
            a, b = (frame.sort_values("digest", ignore_index=True) for frame in (a, b))
        assert a.equals(b), name
    assert sorted(texts_of(whole)) == sorted(texts_of(cut))


def texts_of(manifest: Manifest) -> list[tuple[int, str]]:
    digests = manifest.texts["digest"]
    uses = manifest.text_uses
    return sorted({(int(r), digests.iloc[t]) for r, t in zip(uses.records, uses.rows, strict=True)})


@settings(deadline=None, max_examples=5)
@given(cut=st.integers(1, 30))
def test_two_shards_of_a_source_say_what_one_says(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("cut")
    rows = rows_with_faults()
    write(root / "one" / f"{SOURCE}.parquet", rows, PICTURES)
    write(root / "two" / f"{SOURCE}-00000.parquet", rows[:cut], PICTURES)
    write(root / "two" / f"{SOURCE}-00001.parquet", rows[cut:], PICTURES)
    one, two = (manifest_of(root / name).records.drop(columns="shard").astype(object) for name in ("one", "two"))
    assert one.equals(two)


def test_uses_name_the_records_of_media_and_texts(tmp_path: Path) -> None:
    rows = [record(n) for n in range(6)]
    rows[5] |= {"query": [text("a picture of thing 1"), part(PICTURES[0])]}
    write(tmp_path / "other.parquet", [record(9, "other")], PICTURES)
    write(tmp_path / f"{SOURCE}.parquet", rows, PICTURES)
    found = manifest_of(tmp_path)
    media = found.media
    row = media.index[(media["digest"] == PICTURES[0].digest) & (media["shard"] == f"{SOURCE}.parquet")]
    # The other shard's record comes first: positions count over all shards.
    assert list(found.affected("media", list(row))) == [1, 5, 6]
    same = found.texts.index[found.texts["text_chars"] == len("a picture of thing 1")]
    assert set(found.affected("texts", list(same))) == set(range(7))


def test_columns_stay_small(tmp_path: Path) -> None:
    write(tmp_path / f"{SOURCE}.parquet", [record(n) for n in range(3_000)], PICTURES)
    frame = manifest_of(tmp_path).records
    assert not [name for name, kind in frame.dtypes.items() if str(kind) == "object"]
    assert frame.memory_usage(deep=True).sum() / len(frame) < 100


def test_a_shard_of_media_alone_has_no_records(tmp_path: Path) -> None:
    write(tmp_path / f"{SOURCE}.parquet", [record(1)], PICTURES)
    write(tmp_path / "z.parquet", [], PICTURES)
    found = manifest_of(tmp_path)
    assert (len(found.records), len(found.media)) == (1, 2 * len(PICTURES))


def test_a_shard_that_breaks_in_the_middle_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / f"{SOURCE}.parquet"
    write(path, [record(n) for n in range(50)], PICTURES)
    data = bytearray(path.read_bytes())
    data[8 : len(data) // 2] = bytes(len(data) // 2 - 8)
    path.write_bytes(bytes(data))
    (found,) = probe_shards(tmp_path, [path], LIMITS)
    assert isinstance(found, Unreadable)
    assert found.message
    pq.write_table(SCHEMA.with_metadata(FORMAT).empty_table().select(["kind", "id"]), path)
    (found,) = probe_shards(tmp_path, [path], LIMITS)
    assert isinstance(found, Unreadable)
    assert "are not those of a shard" in found.message

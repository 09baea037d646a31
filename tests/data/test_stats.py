"""Counts equal those made record by record; no medium is read for them."""

from collections import Counter
from pathlib import Path

import pytest

from data.corpus import Corpus
from data.splits import split_of
from data.stats import Stats, corpus_stats
from model.errors import DataError
from tests.data.sheet_corpus import write_corpus


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def stats(folder: Path) -> Stats:
    return corpus_stats(folder)


def test_records_languages_and_licenses(folder: Path, stats: Stats) -> None:
    records = Corpus(folder).records
    assert stats.total == len(records)
    assert {(r["source"], r["task"], r["split"]): r["records"] for r in stats.records} == Counter(
        (r.source, r.task, r.split) for r in records
    )
    assert stats.by("language") == Counter(r.languages[0] for r in records)
    assert stats.by("license") == Counter(r.license for r in records)
    assert next(iter(stats.by("source"))) == "words", "the largest comes first"


def test_parts_and_lengths(folder: Path, stats: Stats) -> None:
    expected: Counter[tuple[str, str, str]] = Counter()
    lengths: Counter[tuple[str, int]] = Counter()
    for r in Corpus(folder).records:
        for role, contents in (("query", (r.query,)), ("positives", r.positives), ("negatives", r.negatives)):
            for part in (part for content in contents for part in content):
                expected[r.source, role, part.modality.value] += 1
                if part.text:
                    lengths[role, 2 ** (len(part.text).bit_length() - 1)] += 1
    assert {(r["source"], r["role"], r["modality"]): r["parts"] for r in stats.parts} == expected
    assert {(r["role"], r["characters"]): r["parts"] for r in stats.texts} == lengths


def test_media_are_counted_from_the_columns_and_measured_by_probes(folder: Path, tmp_path: Path, stats: Stats) -> None:
    from data.probe_store import write_probes
    from data.probes import probe_media
    from data.shards import read_media
    from model.encoder import Limits

    assert {(r["source"], r["modality"]): r["items"] for r in stats.media}[("pictures", "image")] == 12
    assert all(row["bytes"] is None for row in stats.media)
    other = write_corpus(tmp_path)
    limits = Limits()
    for name in ("sounds", "clips"):
        shard = other / f"{name}.parquet"
        items = sorted(read_media(shard).items())
        probes = [probe_media(digest, modality.value, data, limits) for digest, (modality, data) in items]
        write_probes(other, shard, probes, limits=limits)
    found = {(r["source"], r["modality"]): r for r in corpus_stats(other).media}
    sound = found["sounds", "audio"]
    assert (sound["items"], sound["seconds"], sound["broken"], sound["containers"]) == (1, 0.5, 0, {"wav": 1})
    size = sum(len(data) for _, data in read_media(other / "clips.parquet").values())
    assert found["clips", "video"]["bytes"] == size
    assert found["pictures", "image"]["bytes"] is None


def test_groups_and_their_warnings(stats: Stats) -> None:
    crowd = next(row for row in stats.groups if row["source"] == "pictures")
    assert (crowd["group"], crowd["records"], crowd["groups"]) == ("crowd", 4, 3)
    assert crowd["share"] == pytest.approx(4 / 6)
    warned = stats.warnings(0.5)
    assert any("'crowd' holds 67% of pictures" in line for line in warned)
    assert not any("words" in line for line in warned)
    assert stats.split_groups == []
    assert sum(stats.shares("words").values()) == pytest.approx(1)


def test_a_group_in_two_splits_is_named(tmp_path: Path) -> None:
    from data.shards import write_shard
    from tests.data.sheet_corpus import record, text

    rows = [
        record("s", f"r{i}", text("a"), text("b"), group="same", split=split)
        for i, split in enumerate(("train", "test"))
    ]
    write_shard(tmp_path / "s.parquet", rows, {})
    found = corpus_stats(tmp_path)
    assert found.split_groups == ["same"]
    assert "more than one split" in " ".join(found.warnings(1.0))
    assert split_of("same") in ("train", "validation", "test")


def test_media_bytes_are_never_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard whose pages of bytes are overwritten is counted as if nothing had happened."""
    import shutil

    import pyarrow.parquet as pq

    damaged = shutil.copytree(folder, tmp_path / "damaged")
    for path in damaged.glob("*.parquet"):
        footer = pq.read_metadata(path)
        content = bytearray(path.read_bytes())
        for group in range(footer.num_row_groups):
            columns = [footer.row_group(group).column(i) for i in range(footer.num_columns)]
            column = next(c for c in columns if c.path_in_schema == "bytes")
            start = min(at for at in (column.dictionary_page_offset, column.data_page_offset) if at)
            content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
        path.write_bytes(content)
    with pytest.raises(OSError, match=r"thrift|page|[Dd]ecompress|header|Corrupt|deserialize"):
        pq.read_table(damaged / "pictures.parquet")
    assert corpus_stats(damaged).records == corpus_stats(folder).records
    assert corpus_stats(damaged).media == corpus_stats(folder).media


def test_a_broken_shard_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(DataError, match="omnivec data validate"):
        corpus_stats(tmp_path)

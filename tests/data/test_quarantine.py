"""Dividing a corpus loses nothing, whatever is refused and however the shard is cut into pieces."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data.quarantine as quarantine
import data.scan as scanning
from data.manifest import scan
from data.probing import Unreadable, probe_shards
from data.quarantine import divide, write_accepted, write_quarantine
from data.shards import shard_paths
from model.encoder import Limits
from model.errors import DataError
from tests.conftest import make_png
from tests.data.faults import PICTURES, SOURCE, Row, record, stored, write

LIMITS = Limits()
ROWS = 12
BROKEN = stored("image", make_png(30)[:100])


def scanned(corpus: Path):
    found, first = [], 0
    for probes in probe_shards(corpus, shard_paths(corpus), LIMITS):
        assert not isinstance(probes, Unreadable)
        found.append(scan(probes, first))
        first += found[-1].shard.records
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("divide") / "corpus"
    write(root / f"{SOURCE}.parquet", [record(n) for n in range(ROWS)], PICTURES)
    write(root / "other.parquet", [record(n, "other") for n in range(3)], [*PICTURES, BROKEN])
    return root


def rows_of(directory: Path) -> list[Row]:
    return [row for path in sorted(directory.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


@settings(deadline=None, max_examples=15)
@given(refused=st.sets(st.integers(0, ROWS + 2)), at_once=st.sampled_from([1, 5, 1000]))
def test_what_comes_in_comes_out_on_one_side_or_the_other(
    refused: set[int], at_once: int, corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "RECORD_ROWS", at_once)
        divided = divide(scanned(corpus), {row: ["because"] for row in refused})
        accepted = write_accepted(divided, root / "dataset", limits=LIMITS)
        quarantined = write_quarantine(divided, {}, root / "quarantine")
    assert (accepted, quarantined) == (ROWS + 3 - len(refused), len(refused))
    before = [row for row in rows_of(corpus) if row["kind"] == "record"]  # other.parquet comes first, as in `scanned`
    kept = [row for row in rows_of(root / "dataset") if row["kind"] == "record"]
    put_aside = [row for row in rows_of(root / "quarantine") if row["kind"] == "record"]
    assert kept == [row for at, row in enumerate(before) if at not in refused]
    assert put_aside == [row for at, row in enumerate(before) if at in refused]
    for path in shard_paths(root / "dataset") if kept else ():
        rows = pq.read_table(path).to_pylist()
        media = {row["id"] for row in rows if row["kind"] == "media"}
        assert BROKEN.digest not in media
        assert {row["positives"][0][0]["media"] for row in rows if row["kind"] == "record"} <= media
    assert BROKEN.digest in {row["id"] for row in rows_of(root / "quarantine")}


def test_a_shard_without_a_verdict_is_copied_byte_for_byte(corpus: Path, tmp_path: Path) -> None:
    divided = divide(scanned(corpus), {})
    write_accepted(divided, tmp_path, limits=LIMITS)
    name = f"{SOURCE}.parquet"
    assert (tmp_path / name).read_bytes() == (corpus / name).read_bytes()


def test_a_written_shard_that_lacks_a_record_is_found(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    divided = divide(scanned(corpus), {3: ["because"]})
    honest = quarantine.record_batches
    monkeypatch.setattr(quarantine, "record_batches", lambda *given: (batch.slice(1) for batch in honest(*given)))
    with pytest.raises(DataError, match="holds"):
        write_accepted(divided, tmp_path, limits=LIMITS)

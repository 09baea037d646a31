"""Every planted fault is found, named and quarantined, nothing else is, and the counts add up."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.validate.run import run
from data.corpus import Corpus
from data.probe_store import read_probes
from data.shards import read_media
from tests.data.faults import CONFIG, FAULTS, Planted, plant

pytestmark = pytest.mark.slow

Found = tuple[Planted, Path, dict[str, float]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    root = tmp_path_factory.mktemp("faults")
    planted = plant(root / "corpus")
    places = {"dataset": root / "dataset", "quarantine": root / "quarantine", "report": root / "report.html"}
    return planted, root, run(CONFIG, corpus=planted.corpus, **places)


def lines(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "quarantine" / "reasons.jsonl").read_text().splitlines()]


def test_at_least_thirty_kinds_are_planted() -> None:
    assert len(FAULTS) >= 30
    assert len({reason for fault in FAULTS.values() for reason in fault.reasons}) >= 30


def test_every_fault_is_named_and_nothing_else_is_refused(found: Found) -> None:
    planted, root, _ = found
    refused = [(line["id"], set(line["reasons"])) for line in lines(root) if line["kind"] == "record"]
    assert len(refused) == len(planted.faulty)
    for (name, identity, expected), (quarantined, reasons) in zip(planted.faulty, refused, strict=True):
        assert quarantined == identity, name
        if name == "document of strokes without end":  # out of time or out of memory first
            assert len(reasons) == 1, name
            assert reasons < expected, name
        else:
            assert reasons == expected, name


def test_good_rows_are_accepted_with_all_their_media(found: Found) -> None:
    planted, root, _ = found
    corpus = Corpus(root / "dataset")
    assert sorted(record.id for record in corpus.records) == sorted(planted.good)
    for record in corpus.records:
        corpus.resolve(record)


def test_counts_add_up(found: Found) -> None:
    planted, root, scalars = found
    rows = sum(pq.read_table(path)["kind"].to_pylist().count("record") for path in planted.corpus.glob("*.parquet"))
    assert rows == scalars["rows"] + scalars["quarantined"] == len(planted.good) + len(planted.faulty)
    in_quarantine = Counter(
        kind for path in (root / "quarantine").glob("*.parquet") for kind in pq.read_table(path)["kind"].to_pylist()
    )
    assert in_quarantine["record"] == scalars["quarantined"]
    # Every medium is in the accepted shard, in quarantine, or in both, because good and bad records share it.
    before = read_media_ids(planted.corpus)
    assert before == read_media_ids(root / "dataset") | read_media_ids(root / "quarantine")
    bad = {line["id"] for line in lines(root) if line["kind"] == "media"}
    assert scalars["bad_media"] == len(bad)
    assert not bad & read_media_ids(root / "dataset")


def read_media_ids(directory: Path) -> set[str]:
    tables = [pq.read_table(path, columns=["kind", "id"]).to_pylist() for path in directory.glob("*.parquet")]
    return {row["id"] for table in tables for row in table if row["kind"] == "media"}


def test_accepted_shards_come_with_their_probes(found: Found) -> None:
    _, root, _ = found
    stored = {probes.shard.name: probes for probes in read_probes(root / "dataset", limits=CONFIG.limits)}
    assert stored.keys() == {path.name for path in (root / "dataset").glob("*.parquet")}
    for name, probes in stored.items():
        assert set(probes.media["digest"].to_pylist()) == set(read_media(root / "dataset" / name))
        assert probes.media["code"].null_count == probes.media.num_rows


def test_report_names_the_users_rule_and_every_reason(found: Found) -> None:
    planted, root, _ = found
    page = (root / "report.html").read_text()
    for _, _, reasons in planted.faulty:
        assert any(reason in page for reason in reasons)
    assert "too_wide_for_us" in page

"""The validate step: each kind of bad input is quarantined with its reason, good input loses nothing, counts add up."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.validate.config import LicensePolicy, ValidateConfig
from components.validate.run import run
from data.corpus import Corpus
from data.licenses import is_allowed
from data.shards import FORMAT, SCHEMA, read_records
from data.splits import split_of
from model.content import media_digest
from model.errors import DataError
from tests.conftest import make_mp4, make_ogg, make_png

Row = dict[str, Any]
LENIENT = ValidateConfig(maximum_bad_share=0.5)
PICTURES = [make_png(seed) for seed in range(4)]
SOUND, CLIP = make_ogg(), make_mp4()
BROKEN_PICTURE, CUT_SOUND = PICTURES[0][:200], SOUND[: len(SOUND) // 2]


def text(value: str | None) -> Row:
    return {"modality": "text", "text": value, "media": None}


def medium(data: bytes, modality: str = "image") -> Row:
    return {"modality": modality, "text": None, "media": media_digest(data)}


def record(number: int, **changes: Any) -> Row:
    group = changes.get("group", f"group {number}")
    row: Row = {
        "kind": "record",
        "id": f"s/{number}",
        "task": "text_to_image",
        "query": [text(f"a picture of thing {number}")],
        "positives": [[medium(PICTURES[number % 4])]],
        "negatives": [],
        "source": "s",
        "languages": ["en"],
        "license": "MIT AND Unicode-3.0",
        "group": group,
        "split": split_of(group) if group else "train",
    }
    return {**row, **changes}


def good_rows() -> list[Row]:
    speech = record(90, task="speech_to_text", query=[medium(SOUND, "audio")], positives=[[text("a word")]])
    video = record(91, task="text_to_video", positives=[[medium(CLIP, "video")]], negatives=[[medium(PICTURES[0])]])
    bitext = record(92, task="bitext", positives=[[text("犬の絵")]], languages=["en", "ja"])
    mixed = record(93, task="composed_to_image", query=[medium(PICTURES[1]), text("with a hat")])
    return [*(record(n) for n in range(40)), speech, video, bitext, mixed]


def write(path: Path, rows: list[Row], media: dict[bytes, str], **digests: bytes) -> None:
    """Write a shard as it is, without the checks of ``write_shard``; ``digests`` plants wrong ones."""
    stored = [{"kind": "media", "id": media_digest(d), "modality": m, "bytes": d} for d, m in media.items()]
    stored += [{"kind": "media", "id": digest, "modality": "image", "bytes": d} for digest, d in digests.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(stored + rows, SCHEMA.with_metadata(FORMAT)), path)


MEDIA = {**dict.fromkeys(PICTURES, "image"), SOUND: "audio", CLIP: "video"}
OTHER_SPLIT = {"train": "test", "validation": "train", "test": "train"}

# name -> (what is wrong with the row, reasons it must get)
BAD: dict[str, tuple[Callable[[int], Row], set[str]]] = {
    "corrupt image": (lambda n: record(n, positives=[[medium(BROKEN_PICTURE)]]), {"image_truncated"}),
    "truncated audio": (
        lambda n: record(n, task="speech_to_image", query=[medium(CUT_SOUND, "audio")]),
        {"audio_truncated"},
    ),
    "audio called an image": (lambda n: record(n, positives=[[medium(SOUND)]]), {"media_modality_mismatch"}),
    "media of another digest": (
        lambda n: record(n, positives=[[{"modality": "image", "text": None, "media": "f" * 32}]]),
        {"media_digest_mismatch"},
    ),
    "missing media": (
        lambda n: record(n, positives=[[{"modality": "image", "text": None, "media": "0" * 32}]]),
        {"media_missing"},
    ),
    "missing media in a negative": (
        lambda n: record(n, negatives=[[{"modality": "image", "text": None, "media": "0" * 32}]]),
        {"media_missing"},
    ),
    "language tag of another script": (
        lambda n: record(n, languages=["ja"], query=[text("plainly an English caption")]),
        {"language_script_mismatch"},
    ),
    "language tag that is none": (lambda n: record(n, languages=["english"]), {"language_tag_invalid"}),
    "no language": (lambda n: record(n, languages=[]), {"language_tag_invalid"}),
    "license not allowed": (lambda n: record(n, license="MIT AND CC-BY-NC-4.0"), {"license_not_allowed"}),
    "license malformed": (lambda n: record(n, license="free, really"), {"license_malformed"}),
    "license missing": (lambda n: record(n, license=None), {"license_missing"}),
    "split that is not the group's": (
        lambda n: record(n, split=OTHER_SPLIT[split_of(f"group {n}")]),
        {"split_is_not_group_hash"},
    ),
    "group leaking into another split": (
        lambda n: record(n, group="group 1", split=OTHER_SPLIT[split_of("group 1")]),
        {"split_is_not_group_hash", "group_in_two_splits"},
    ),
    "unknown split": (lambda n: record(n, split="dev"), {"unknown_split", "split_is_not_group_hash"}),
    "unknown task": (lambda n: record(n, task="guessing"), {"unknown_task"}),
    "empty text": (lambda n: record(n, query=[text("  \n")]), {"text_empty"}),
    "null text": (lambda n: record(n, query=[text(None)]), {"text_empty"}),
    "no query": (lambda n: record(n, query=[]), {"query_missing"}),
    "no positive": (lambda n: record(n, positives=[]), {"positive_missing"}),
    "part with text and media": (
        lambda n: record(n, positives=[[{**medium(PICTURES[0]), "text": "both"}]]),
        {"malformed_part"},
    ),
    "source of another shard": (lambda n: record(n, source="t"), {"source_is_not_shard"}),
    "id missing": (lambda n: record(n, id=None), {"id_missing"}),
}


@dataclass
class Outcome:
    """What a run left."""

    root: Path
    scalars: dict[str, float]

    @property
    def reasons(self) -> dict[str | None, set[str]]:
        lines = (self.root / "quarantine" / "reasons.jsonl").read_text().splitlines()
        parsed = [json.loads(line) for line in lines]
        return {line["id"]: set(line["reasons"]) for line in parsed if line["kind"] == "record"}


def outputs(root: Path) -> dict[str, Path]:
    return {"dataset": root / "dataset", "quarantine": root / "quarantine", "report": root / "report.html"}


@pytest.fixture(scope="module")
def bad_outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run over a corpus with every kind of bad row, and as many good ones."""
    root = tmp_path_factory.mktemp("bad")
    rows = good_rows() + [make(200 + i) for i, (make, _) in enumerate(BAD.values())]
    rows += [record(300, id="twice"), record(301, id="twice")]
    media = {**MEDIA, BROKEN_PICTURE: "image", CUT_SOUND: "audio"}
    write(root / "corpus" / "s.parquet", rows, media, **{"f" * 32: PICTURES[2]})
    return Outcome(root, run(LENIENT, corpus=root / "corpus", **outputs(root)))


@pytest.mark.parametrize("name", BAD)
def test_bad_row_is_quarantined_with_its_reason(name: str, bad_outcome: Outcome) -> None:
    number = 200 + list(BAD).index(name)
    identity = None if name == "id missing" else f"s/{number}"
    assert bad_outcome.reasons[identity] == BAD[name][1]


def test_rows_of_a_duplicate_id_are_all_refused(bad_outcome: Outcome) -> None:
    lines = (bad_outcome.root / "quarantine" / "reasons.jsonl").read_text().splitlines()
    twice = [json.loads(line) for line in lines if '"twice"' in line]
    assert [line["reasons"] for line in twice] == [["duplicate_id"]] * 2


def test_good_rows_beside_bad_ones_are_all_accepted(bad_outcome: Outcome) -> None:
    corpus = Corpus(bad_outcome.root / "dataset")
    assert [r.id for r in corpus.records] == [row["id"] for row in good_rows()]
    for item in corpus.records:
        corpus.resolve(item)


def test_nothing_is_lost(bad_outcome: Outcome) -> None:
    scalars = bad_outcome.scalars
    assert scalars["rows"] == len(good_rows())
    assert scalars["quarantined"] == len(BAD) + 2
    assert scalars["left_out_by_license"] == 1
    refused = pq.read_table(bad_outcome.root / "quarantine" / "s.parquet")
    kinds = refused["kind"].to_pylist()
    assert kinds.count("record") == len(BAD) + 2
    # The bytes of bad media are kept for whoever looks into it, and are not in the accepted shard.
    assert media_digest(BROKEN_PICTURE) in refused["id"].to_pylist()
    accepted = pq.read_table(bad_outcome.root / "dataset" / "s.parquet")["id"].to_pylist()
    assert media_digest(BROKEN_PICTURE) not in accepted
    assert "f" * 32 not in accepted


def test_dataset_document_counts_what_was_accepted(bad_outcome: Outcome) -> None:
    facts = json.loads((bad_outcome.root / "dataset" / "dataset.json").read_text())
    assert facts["rows"] == len(good_rows())
    assert facts["by"]["language"] == {"en": len(good_rows()), "ja": 1}
    assert facts["by"]["source"] == {"s": len(good_rows())}
    assert facts["dvc"]["md5"].endswith(".dir")
    assert facts["dvc"]["matches"] is None
    assert facts["reasons"]["text_empty"] == 2


def test_report_has_plots_first_and_loads_nothing(bad_outcome: Outcome) -> None:
    report = (bad_outcome.root / "report.html").read_text()
    assert 0 < report.index("<svg") < report.index("<table")
    assert "language_script_mismatch" in report
    assert "<script" not in report
    assert "&lt;script" not in report
    assert "stylesheet" not in report
    assert "expect" in report.lower()


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A corpus without a fault."""
    write(tmp_path / "corpus" / "s.parquet", good_rows(), MEDIA)
    return tmp_path


def test_good_corpus_is_passed_on_byte_for_byte(good: Path) -> None:
    scalars = run(ValidateConfig(), corpus=good / "corpus", **outputs(good))
    assert scalars["rows"] == len(good_rows())
    assert scalars["quarantined"] == scalars["bad_media"] == 0
    assert (good / "dataset" / "s.parquet").read_bytes() == (good / "corpus" / "s.parquet").read_bytes()
    assert (good / "quarantine" / "reasons.jsonl").read_text() == ""


def test_corpus_with_too_many_bad_rows_stops(good: Path) -> None:
    rows = good_rows() + [record(200 + n, query=[text("")]) for n in range(3)]
    write(good / "corpus" / "s.parquet", rows, MEDIA)
    with pytest.raises(DataError, match=r"3 of 47 rows \(6\.4%\) are bad, more than 2\.0%") as caught:
        run(ValidateConfig(), corpus=good / "corpus", **outputs(good))
    message = str(caught.value)
    assert "text_empty: 3 rows" in message
    assert str(good / "quarantine") in message
    assert str(good / "report.html") in message
    assert not (good / "dataset").exists()
    assert len(list(read_records(good / "quarantine" / "s.parquet"))) == 3
    assert "The run was stopped" in (good / "report.html").read_text()


def test_unreadable_source_stops(good: Path) -> None:
    (good / "corpus" / "t.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match=r"shard t\.parquet cannot be read"):
        run(LENIENT, corpus=good / "corpus", **outputs(good))
    line = json.loads((good / "quarantine" / "reasons.jsonl").read_text())
    assert (line["id"], line["reasons"]) == ("t.parquet", ["shard_unreadable"])


def test_source_of_bad_rows_only_stops_even_when_it_is_small(good: Path) -> None:
    write(good / "corpus" / "t.parquet", [record(500, source="t", query=[text("")])], MEDIA)
    with pytest.raises(DataError, match=r"every row of t\.parquet is bad"):
        run(LENIENT, corpus=good / "corpus", **outputs(good))


def test_licence_filter_is_a_choice_and_not_a_fault(good: Path) -> None:
    write(good / "corpus" / "t.parquet", [record(500 + n, source="t", license="X-1.0") for n in range(60)], MEDIA)
    scalars = run(ValidateConfig(), corpus=good / "corpus", **outputs(good))
    assert scalars["left_out_by_license"] == scalars["quarantined"] == 60
    assert [path.name for path in (good / "dataset").glob("*.parquet")] == ["s.parquet"]
    nothing = ValidateConfig(licenses=LicensePolicy(allow=("CC0-1.0",)))
    with pytest.raises(DataError, match="no row is left"):
        run(nothing, corpus=good / "corpus", **outputs(good / "again"))


@pytest.mark.parametrize("name", ["CC0-1.0", "PDDL-1.0", "Unlicense"])
def test_the_public_domain_is_allowed_by_default(name: str) -> None:
    assert is_allowed(f"{name} AND MIT", LicensePolicy().allow)


def test_evaluation_only_source_may_not_train(good: Path) -> None:
    config = ValidateConfig(maximum_bad_share=1.0, evaluation_only=("s",))
    run(config, corpus=good / "corpus", **outputs(good))
    accepted = Corpus(good / "dataset").records
    assert accepted
    assert {r.split for r in accepted} == {"test"}


def test_no_shard_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \*\.parquet shard"):
        run(ValidateConfig(), corpus=tmp_path, **outputs(tmp_path))

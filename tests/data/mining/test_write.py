"""Every record comes out again; negatives, their media and their licences are in the shard."""

from dataclasses import replace
from pathlib import Path

import pytest

from data.corpus import Corpus
from data.licenses import is_allowed
from data.mining.knowledge import Knowledge, content_key
from data.mining.select import Negative
from data.mining.write import join_licenses, write_mined
from data.records import PartRef, Record
from data.shards import read_media, read_records, write_shard
from model.content import Modality, media_digest
from model.errors import DataError
from tests.conftest import make_png
from tests.data.mining.toy import record, words


def picture(seed: int) -> tuple[tuple[PartRef, ...], dict]:
    data = make_png(seed)
    return (PartRef(Modality.IMAGE, media=media_digest(data)),), {media_digest(data): (Modality.IMAGE, data)}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two shards, of pictures under different licences, with a record for testing."""
    for source, license_, first in (("one", "MIT", 0), ("two", "CC-BY-4.0", 10)):
        rows: list[Record] = []
        media: dict = {}
        for i in range(first, first + 3):
            ref, own = picture(i)
            media |= own
            made = record(str(i), f"q{i}", [], source=source, license=license_)
            rows.append(replace(made, positives=(ref,), split="test" if i == first + 2 else "train"))
        write_shard(tmp_path / "corpus" / f"{source}.parquet", rows, media)
    return tmp_path / "corpus"


def negative(corpus: Corpus, name: str) -> Negative:
    known = Knowledge(corpus.records)
    (row,) = (r for r in corpus.records if r.id == name)
    return Negative(known.documents[content_key(row.positives[0])], 0.5)


def test_records_media_and_licences(corpus: Path, tmp_path: Path) -> None:
    train = Corpus(corpus, splits=("train",))
    shards = {r.id: train.shard_of(r) for r in train.records}
    taken = {"toy/0": [negative(train, "toy/1"), negative(train, "toy/11")], "toy/10": []}
    assert write_mined(corpus, tmp_path / "mined", taken, shards) == 6
    before = {r.id: r for path in corpus.glob("*.parquet") for r in read_records(path)}
    after = Corpus(tmp_path / "mined")
    found = {r.id: r for r in after.records}
    assert found.keys() == before.keys()
    changed = found.pop("toy/0")
    assert changed.license == "MIT AND CC-BY-4.0"
    assert replace(changed, negatives=(), license="MIT") == before.pop("toy/0")
    assert found == before
    example = after.resolve(changed)
    assert [c.parts[0].data for c in example.negatives] == [make_png(1), make_png(11)]
    assert len(read_media(tmp_path / "mined" / "one.parquet")) == 4
    assert (tmp_path / "mined" / "two.parquet").read_bytes() == (corpus / "two.parquet").read_bytes()


@pytest.mark.parametrize(
    ("existing", "expected"), [("first", ["old", "new"]), ("last", ["new", "old"]), ("replace", ["new"])]
)
def test_negatives_that_were_there(tmp_path: Path, existing: str, expected: list[str]) -> None:
    rows = [record("1", "a", ["b"], negatives=(words("old"),)), record("2", "c", ["new"])]
    write_shard(tmp_path / "corpus" / "toy.parquet", rows, {})
    corpus = Corpus(tmp_path / "corpus")
    taken = {"toy/1": [negative(corpus, "toy/2")]}
    shards = {r.id: corpus.shard_of(r) for r in rows}
    write_mined(corpus.directory, tmp_path / "mined", taken, shards, existing=existing)
    (first, _) = read_records(tmp_path / "mined" / "toy.parquet")
    assert [ref[0].text for ref in first.negatives] == expected


def test_negatives_for_records_that_are_not_there_are_no_success(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mined for 1 records, but .* has 0 of them"):
        write_mined(corpus, tmp_path / "mined", {"toy/strange": []}, {})


@pytest.mark.parametrize(
    ("expressions", "joined"),
    [
        (["MIT", "MIT"], "MIT"),
        (["MIT AND CC-BY-4.0", "CC-BY-4.0", "Unicode-3.0 AND MIT"], "MIT AND CC-BY-4.0 AND Unicode-3.0"),
        (["MIT OR GPL-2.0-only", "MIT OR GPL-2.0-only"], "MIT OR GPL-2.0-only"),
        (["MIT OR GPL-2.0-only", "CC0-1.0"], "(MIT OR GPL-2.0-only) AND CC0-1.0"),
    ],
)
def test_licences_together(expressions: list[str], joined: str) -> None:
    assert join_licenses(expressions) == joined
    assert is_allowed(joined, {"MIT", "CC-BY-4.0", "Unicode-3.0", "CC0-1.0"})

"""Subsets keep whole groups, every split, and only the media they need."""

from pathlib import Path

import pytest

from data.records import SPLITS, PartRef, Record
from data.shards import read_media, read_records, write_shard
from data.subset import write_subset
from model.content import Modality, media_digest


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    media, records = {}, []
    for split in SPLITS:
        for number in range(5):
            data = f"{split}{number}".encode()
            media[media_digest(data)] = (Modality.IMAGE, data)
            picture = (PartRef(Modality.IMAGE, media=media_digest(data)),)
            for language in ("en", "de"):
                query = (PartRef(Modality.TEXT, text=f"{number} {language}"),)
                group = f"{split}-{number}"
                records.append(
                    Record(
                        f"{group}/{language}",
                        "text_to_image",
                        query,
                        (picture,),
                        (),
                        "s",
                        (language,),
                        "MIT",
                        group,
                        split,
                    )
                )
    write_shard(tmp_path / "corpus" / "s.parquet", records, media)
    return tmp_path / "corpus"


def test_whole_groups_of_every_split_with_their_media(corpus: Path, tmp_path: Path) -> None:
    assert write_subset(corpus, tmp_path / "small", groups=2) == 2 * len(SPLITS) * 2
    kept = list(read_records(tmp_path / "small" / "s.parquet"))
    assert {record.split for record in kept} == set(SPLITS)
    for group in {record.group for record in kept}:
        assert [record.languages for record in kept if record.group == group] == [("en",), ("de",)]
    assert len(read_media(tmp_path / "small" / "s.parquet")) == 2 * len(SPLITS)


def test_same_subset_every_time_and_everything_when_there_are_few(corpus: Path, tmp_path: Path) -> None:
    write_subset(corpus, tmp_path / "a", groups=2)
    write_subset(corpus, tmp_path / "b", groups=2)
    assert (tmp_path / "a" / "s.parquet").read_bytes() == (tmp_path / "b" / "s.parquet").read_bytes()
    assert write_subset(corpus, tmp_path / "all", groups=99) == len(list(read_records(corpus / "s.parquet")))

"""The committed starter corpus keeps its promises (records only; media are decoded for a sample)."""

import io
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import pytest
import soundfile
from PIL import Image

from data.records import Record
from data.shards import read_media, read_records, shard_paths
from data.sources.build import BUILDERS
from data.sources.emoji import UNSEEN_ARTIST
from data.sources.motion import CAPTIONS, MOTIONS
from data.splits import split_of
from model.content import Modality

pytestmark = pytest.mark.slow

STARTER = Path(__file__).parents[2] / "data/starter"
LARGEST = 34_000_000


@lru_cache(maxsize=1)
def _records() -> tuple[Record, ...]:
    return tuple(record for path in shard_paths(STARTER) for record in read_records(path))


def test_one_shard_for_each_source_within_the_size() -> None:
    paths = shard_paths(STARTER)
    assert {path.stem for path in paths} == BUILDERS.keys()
    assert sum(path.stat().st_size for path in paths) <= LARGEST
    assert {r.source for r in _records()} == BUILDERS.keys()


def test_ids_are_unique_and_start_with_the_source() -> None:
    records = _records()
    ids = {r.id for r in records}
    assert len(ids) == len(records)
    strangers = [r.id for r in records if not r.id.startswith(f"{r.source}/")]
    assert strangers == []


def test_splits_are_the_hash_of_the_group_in_every_source() -> None:
    assert all(r.split == split_of(r.group) for r in _records())


def test_the_unseen_artist_is_only_tested() -> None:
    assert {r.split for r in _records() if r.source == f"emoji-{UNSEEN_ARTIST}"} == {"test"}
    assert not any("SA-4.0" in r.license for r in _records() if r.split != "test")


def test_no_media_and_no_pair_is_in_two_splits() -> None:
    splits: dict[object, set[str]] = defaultdict(set)
    for record in _records():
        for part in record.positives[0]:
            splits[part.media if part.media else ("text", record.task, record.query, part.text)].add(record.split)
    crossing = [key for key, found in splits.items() if len(found) > 1]
    assert crossing == []


def test_share_alike_and_gpl_material_is_in_files_of_its_own() -> None:
    assert {r.source for r in _records() if "GPL" in r.license} == {"stamps", "stamps-speech"}


@pytest.mark.parametrize(("task", "languages"), [("text_to_image", 24), ("speech_to_text", 7), ("bitext", 9)])
def test_languages(task: str, languages: int) -> None:
    assert len({la for r in _records() if r.task == task for la in r.languages}) >= languages


def test_motion_ids_tell_object_and_motion() -> None:
    by_object = defaultdict(set)
    split = {}
    for record in _records():
        if record.source == "motion":
            _, concept, motion, language = record.id.split("/")
            assert record.query[0].text is not None
            assert record.query[0].text.endswith(CAPTIONS[language][motion])
            by_object[concept].add(motion)
            split[concept] = record.split
    assert sum(name == "train" for name in split.values()) >= 250
    assert sum(name == "test" for name in split.values()) >= 20
    for concept, motions in by_object.items():
        assert motions == MOTIONS.keys() if split[concept] != "train" else len(motions) in {4, 5}
    trained = [by_object[concept] for concept, name in split.items() if name == "train"]
    assert all(sum(motion in motions for motions in trained) >= 80 for motion in MOTIONS)


@pytest.mark.parametrize("source", ["emoji-openmoji", "stamps-speech"])
def test_a_sample_of_media_decodes(source: str) -> None:
    for modality, data in list(read_media(STARTER / f"{source}.parquet").values())[::40]:
        if modality is Modality.IMAGE:
            picture = Image.open(io.BytesIO(data))
            picture.load()
            assert max(picture.size) <= 128
        else:
            info = soundfile.info(io.BytesIO(data))
            assert (info.samplerate, info.channels) == (16_000, 1)
            assert 0.2 < info.duration <= 6.1

"""Retrieval sets: who asks, who competes and who is right, for every task."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from data.benchmarks import TASKS
from data.benchmarks.base import RetrievalSet
from data.benchmarks.build import SamplingConfig, build_sets
from data.corpus import Corpus
from model.content import Content


@pytest.fixture(scope="module")
def corpus(benchmark_corpus: Path) -> Corpus:
    return Corpus(benchmark_corpus)


@pytest.fixture(scope="module")
def sets(corpus: Corpus) -> Mapping[str, RetrievalSet]:
    return {found.key: found for found in build_sets(corpus, TASKS.values(), SamplingConfig())}


def texts(contents: tuple[Content, ...]) -> list[str]:
    return [c.parts[-1].text or "" for c in contents]


def test_every_task_finds_its_records(sets: Mapping[str, RetrievalSet]) -> None:
    assert {key.split("/")[0] for key in sets} == set(TASKS)
    assert "text_to_image/emoji-noto/de" in sets
    assert "text_to_image/emoji-fluent/de" not in sets, "other languages are scored on one artist only"
    assert {"text_to_image/emoji-openmoji/en", "text_to_image/stamps/en", "bitext/en-de", "bitext_back/de-en"} <= set(
        sets
    )


def test_names_compete_for_one_artists_pictures_and_training_records_stay_out(sets: Mapping[str, RetrievalSet]) -> None:
    found = sets["text_to_image/emoji-noto/en"]
    assert sorted(texts(found.queries)) == sorted(["cat", "dog", "boat", "tree", "bread", "lamp"])
    assert len(found.documents) == 6
    assert "seen" not in texts(found.queries)
    for content, right in zip(found.queries, found.right, strict=True):
        (document,) = right
        assert f"/{content.parts[0].text}/" in found.document_ids[document]


def test_reverse_direction_searches_names_without_keywords(sets: Mapping[str, RetrievalSet]) -> None:
    found = sets["image_to_text/emoji-noto/en"]
    assert {c.kind for c in found.queries} == {"image"}
    assert all("keys" not in t for t in texts(found.documents))


def test_equal_captions_are_one_document_and_find_each_others_pictures(sets: Mapping[str, RetrievalSet]) -> None:
    speech = sets["speech_to_text/stamps-speech/es"]
    assert len(speech.queries) == 6
    assert len(speech.documents) == 5, "cat and dog share the caption 'an animal'"
    pictures = sets["speech_to_image/stamps-speech/es"]
    assert sorted(len(r) for r in pictures.right) == [1, 1, 1, 1, 2, 2]


def test_clips_of_the_object_are_right_and_motions_compete_within_it(sets: Mapping[str, RetrievalSet]) -> None:
    by_object = sets["text_to_video_object/motion/en"]
    by_motion = sets["text_to_video_motion/motion/en"]
    assert len(by_object.documents) == 18
    assert all(len(right) == 3 for right in by_object.right)
    assert by_motion.pool_sizes() == [3] * 18
    for right, candidates in zip(by_motion.right, by_motion.candidates or (), strict=True):
        assert len(right) == 1
        assert set(right) < set(candidates)


def test_composed_queries_keep_their_parts(sets: Mapping[str, RetrievalSet]) -> None:
    query = sets["composed_to_image/interleaved/en"].queries[0]
    assert [p.modality.value for p in query.parts] == ["image", "text"]


def test_sampling_is_a_hash_and_keeps_right_documents(corpus: Corpus) -> None:
    small = SamplingConfig(english_queries=2, other_queries=1, documents=3)
    once = build_sets(corpus, [TASKS["text_to_image"]], small)
    again = build_sets(corpus, [TASKS["text_to_image"]], small)
    assert [s.query_ids for s in once] == [s.query_ids for s in again]
    other = build_sets(corpus, [TASKS["text_to_image"]], small.model_copy(update={"seed": 1}))
    assert [s.query_ids for s in once] != [s.query_ids for s in other]
    for found in once:
        assert len(found.queries) == (1 if found.subset.endswith("/de") else 2)
        assert len(found.documents) == 3
        assert all(found.right)


def test_ambiguous_translations_are_left_out(tmp_path: Path) -> None:
    from data.records import PartRef, Record
    from data.shards import write_shard
    from model.content import Modality

    def record(name: str, english: str, german: str) -> Record:
        one, two = ((PartRef(Modality.TEXT, text=t),) for t in (english, german))
        return Record(name, "bitext", one, (two,), (), "libreoffice-bitext", ("en", "de"), "MPL-2.0", name, "test")

    pairs = [record("1", "Open", "Öffnen"), record("2", "Unlock", "Öffnen"), record("3", "Close", "Schließen")]
    write_shard(tmp_path / "libreoffice-bitext.parquet", pairs, {})
    (found,) = build_sets(Corpus(tmp_path), [TASKS["bitext"]], SamplingConfig())
    assert texts(found.queries) == ["Close"]

from pathlib import Path

import pytest
from PIL import Image

from data.sources import emoji
from data.sources.concepts import Concept

CACHE = Path("unused")
# Groups by split: cat is test, dog and owl are train.
CONCEPTS = (
    Concept("1", {"en": "cat", "de": "Katze"}, ("pet", "kitten"), ""),
    Concept("2", {"en": "dog", "de": "Hund"}, ("pet",), ""),
    Concept("3", {"en": "owl"}, (), ""),
)


@pytest.fixture(autouse=True)
def _drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emoji, "concepts", lambda cache: CONCEPTS)
    colours = {"1": "red", "2": "blue", "3": "green"}
    monkeypatch.setattr(emoji, "picture", lambda cache, artist, c: Image.new("RGBA", (8, 8), colours[c.key]))


def test_the_splits_that_the_other_tests_assume() -> None:
    assert CONCEPTS[0].split == "test"
    assert CONCEPTS[1].split == CONCEPTS[2].split == "train"


def test_names_and_keywords_become_records() -> None:
    ids = [i.removeprefix("emoji-noto/") for i in emoji.build(CACHE, "noto").records]
    assert ids == ["1/en", "1/de", "1/keywords", "2/en", "2/de", "3/en"]


def test_the_unseen_artist_has_only_test_concepts() -> None:
    assert {r.group for r in emoji.build(CACHE, "openmoji").records.values()} == {"cat"}


def test_a_drawing_shared_by_concepts_of_two_splits_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    colours = {"1": "red", "2": "red", "3": "green"}
    monkeypatch.setattr(emoji, "picture", lambda cache, artist, c: Image.new("RGBA", (8, 8), colours[c.key]))
    assert {r.group for r in emoji.build(CACHE, "noto").records.values()} == {"owl"}

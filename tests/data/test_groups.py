import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.groups import PEOPLE, caption_group, concept_group
from data.splits import split_of

WORDS = st.lists(st.sampled_from(["cook", "running", "in", "hat", "old", "wheel", "apple"]), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("cat", "cat"),
        ("three o’clock", "clock"),
        ("three o'clock", "clock"),
        ("four-thirty", "clock"),
        ("smiling face with hearts", "heart"),
        ("heart suit", "heart"),
        ("keycap: 3", "keycap"),
        ("flag: France", "flag"),
        ("crossed flags", "flag"),
        ("flagstone", "flagstone"),
        ("large orange square", "shape"),
        ("hollow red circle", "shape"),
        ("circled M", "circled m"),
        ("man cook", "cook"),
        ("woman and man holding hands", "holding hands"),
        ("people hugging", "hugging"),
        ("person: blond hair", "person"),
        ("woman: red hair", "person"),
        ("family: man, woman, boy", "family"),
        ("woman’s hat", "woman's hat"),
        ("mandolin", "mandolin"),
        ("", "person"),
    ],
)
def test_concept_group(name: str, group: str) -> None:
    assert concept_group(name) == group


@pytest.mark.parametrize(
    ("caption", "group"),
    [
        ("A flower.", "flower"),
        ("an apple!", "apple"),
        ("The Eiffel tower ...", "eiffel tower"),
        ("Some grapes", "grapes"),
        ("A woman.", "person"),
        ("A green circle.", "shape"),
        ("Another day.", "another day"),
    ],
)
def test_caption_group(caption: str, group: str) -> None:
    assert caption_group(caption) == group


@given(WORDS, st.sampled_from(PEOPLE), st.sampled_from(PEOPLE))
def test_who_does_it_changes_neither_group_nor_split(words: list[str], who: str, other: str) -> None:
    activity = " ".join(words)
    groups = {concept_group(n) for n in (f"{who} {activity}", f"{who} and {other} {activity}", activity)}
    assert len(groups) == 1
    assert len({split_of(group) for group in groups}) == 1


@given(WORDS, st.sampled_from(["a", "An", "THE", "some"]), st.sampled_from(["", ".", "!", " .", "..."]))
def test_caption_and_drawing_of_a_thing_share_the_group(words: list[str], article: str, stop: str) -> None:
    name = " ".join(words)
    assert caption_group(f"{article} {name}{stop}") == concept_group(name)


@given(st.text(max_size=40))
def test_a_group_is_never_empty_and_ignores_case_of_ascii(name: str) -> None:
    assert concept_group(name)
    if name.isascii():
        assert concept_group(name.upper()) == concept_group(name)

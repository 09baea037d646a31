import pytest

from data.sources.draft import Draft, text_part
from model.content import Modality


def _draft() -> Draft:
    return Draft("toy", "CC0-1.0")


def test_a_name_spelled_alike_is_one_record_with_all_languages() -> None:
    draft = _draft()
    picture = [draft.add_media(Modality.IMAGE, b"picture")]
    for language in ("de", "fr"):
        draft.add(f"a/{language}", "t", [text_part("ananas")], picture, group="pineapple", languages=[language])
    (record,) = draft.records.values()
    assert (record.id, record.languages) == ("toy/a/de", ("de", "fr"))


def test_same_text_of_another_picture_or_task_stays() -> None:
    draft = _draft()
    first, second = (draft.add_media(Modality.IMAGE, data) for data in (b"1", b"2"))
    draft.add("a", "t", [text_part("bat")], [first], group="bat", languages=["en"])
    draft.add("b", "t", [text_part("bat")], [second], group="bat", languages=["en"])
    draft.add("c", "u", [text_part("bat")], [first], group="bat", languages=["en"])
    assert len(draft.records) == 3


def test_unused_media_are_left_out_and_negatives_count_as_used() -> None:
    draft = _draft()
    good, bad, _ = (draft.add_media(Modality.IMAGE, data) for data in (b"1", b"2", b"3"))
    draft.add("a", "t", [text_part("x")], [good], group="x", languages=["en"], negatives=[[bad]])
    assert draft.used_media().keys() == {good.media, bad.media}


def test_a_repeated_id_is_an_error() -> None:
    draft = _draft()
    draft.add("a", "t", [text_part("x")], [text_part("y")], group="x", languages=["en"])
    with pytest.raises(ValueError, match="two records have the id toy/a"):
        draft.add("a", "t", [text_part("z")], [text_part("y")], group="x", languages=["en"])

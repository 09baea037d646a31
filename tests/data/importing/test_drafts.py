from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.importing.drafts import DraftPart, draft, lookup
from data.importing.mapping import Mapping
from data.importing.refusal import Refused
from data.importing.rows import Row, Stored
from model.content import Modality
from tests.data.importing.conftest import TEXT_MAPPING


def drafted(values: dict[str, Any], **change: Any) -> Any:
    mapping = Mapping.model_validate({**TEXT_MAPPING, **change})
    return draft(mapping, Row(0, values), text_chars=100, max_parts=4)


def reason(values: dict[str, Any], **change: Any) -> str:
    with pytest.raises(Refused) as refused:
        drafted(values, **change)
    assert refused.value.message
    return refused.value.reason


def text(value: str) -> DraftPart:
    return DraftPart(Modality.TEXT, value)


def test_a_plain_row() -> None:
    found = drafted({"q": "a", "p": "b"})
    assert (found.query, found.positives, found.negatives) == ((text("a"),), ((text("b"),),), ())
    assert (found.task, found.languages, found.license, found.group) == ("pairs", ("en",), "CC0-1.0", None)


def test_lists_fan_out_into_positives_and_join_in_a_query() -> None:
    found = drafted({"q": ["a", "b"], "p": ["c", "d", "e"]})
    assert found.query == (text("a"), text("b"))
    assert found.positives == ((text("c"),), (text("d"),), (text("e"),))


def test_lists_of_one_content_go_together() -> None:
    parts = [{"modality": "image", "column": "i"}, {"modality": "text", "column": "p"}]
    found = drafted({"q": "a", "i": ["1.png", "2.png"], "p": ["x", "y"]}, positives=[parts])
    assert [content[0].value for content in found.positives] == ["1.png", "2.png"]
    assert [content[1].value for content in found.positives] == ["x", "y"]
    assert reason({"q": "a", "i": ["1.png"], "p": ["x", "y"]}, positives=[parts]) == "lists_differ"


def test_columns_reach_into_nested_ones_but_a_dotted_name_comes_first() -> None:
    values = {"a": {"b": {"c": "deep"}}, "a.b": {"c": "dotted"}, "x.y": 1}
    assert lookup(values, "a.b.c") in ("deep", "dotted")
    assert lookup({"a": {"b": {"c": "deep"}}}, "a.b.c") == "deep"
    assert lookup(values, "x.y") == 1
    assert drafted({"q": "a", "m": {"t": "b"}}, positives=[[{"modality": "text", "column": "m.t"}]])


def test_optional_parts_and_negatives_may_be_missing() -> None:
    query = [{"modality": "text", "column": "q"}, {"modality": "image", "column": "i", "optional": True}]
    negatives = [[{"modality": "text", "column": "n"}]]
    assert drafted({"q": "a", "p": "b", "i": None}, query=query, negatives=negatives).query == (text("a"),)
    assert drafted({"q": "a", "p": "b", "n": []}, negatives=negatives).negatives == ()
    assert drafted({"q": "a", "p": "b", "n": ["x", "y"]}, negatives=negatives).negatives == ((text("x"),), (text("y"),))
    only = [{"modality": "text", "column": "q", "optional": True}]
    assert reason({"p": "b"}, query=only) == "query_missing"
    assert reason({"q": "a", "p": None}, positives=[[{"modality": "text", "column": "p", "optional": True}]]) == (
        "positive_missing"
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"q": "a"}, "column_missing"),
        ({"q": "a", "p": None}, "column_empty"),
        ({"q": "a", "p": float("nan")}, "column_empty"),
        ({"q": "a", "p": "  "}, "column_empty"),
        ({"q": "a", "p": []}, "column_empty"),
        ({"q": "a", "p": ["x", ""]}, "text_empty"),
        ({"q": "a", "p": {"x": 1}}, "not_a_text"),
        ({"q": "a", "p": Stored({"size": 3}, b"abc")}, "not_a_text"),
        ({"q": "a", "p": "x" * 101}, "text_too_long"),
        ({"q": "a", "p": "\ud800"}, "text_not_unicode"),
        ({"q": ["a"] * 5, "p": "b"}, "too_many_parts"),
    ],
)
def test_bad_rows_have_reasons(values: dict[str, Any], expected: str) -> None:
    assert reason(values) == expected


def test_media_are_paths_or_bytes() -> None:
    image = {"query": [{"modality": "image", "column": "q"}]}
    assert drafted({"q": "a.png", "p": "b"}, **image).query[0].value == "a.png"
    assert drafted({"q": Stored({}, b"x"), "p": "b"}, **image).query[0].value == Stored({}, b"x")
    assert reason({"q": 7, "p": "b"}, **image) == "media_not_a_path"


def test_values_map_default_and_are_checked() -> None:
    row = {"q": "a", "p": "b", "lang": "pt_BR", "lic": "CC BY 4.0"}
    language = {"column": "lang", "map": {"pt_BR": "pt-BR"}}
    licence = {"column": "lic", "map": {"CC BY 4.0": "CC-BY-4.0"}}
    found = drafted(row, languages=language, license=licence)
    assert (found.languages, found.license) == (("pt-BR",), "CC-BY-4.0")
    assert reason(row, languages={"column": "lang"}) == "language_tag_invalid"
    assert reason(row, license={"column": "lic"}) == "license_malformed"
    assert reason(row, license={"column": "no"}) == "license_missing"
    assert drafted(row, license={"column": "no", "default": "MIT"}).license == "MIT"
    assert drafted({**row, "lang": ["en", "de", "en"]}, languages={"column": "lang"}).languages == ("en", "de")
    assert drafted({**row, "n": 7}, group={"template": "{lang}-{n}"}).group == "pt_BR-7"
    assert reason(row, group={"column": "no"}) == "group_missing"
    assert reason({**row, "n": None}, id={"column": "n"}) == "id_missing"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["q", "p", "n", "g"]), JSON))
def test_any_row_is_a_draft_or_refused(values: dict[str, Any]) -> None:
    change = {"negatives": [[{"modality": "text", "column": "n"}]], "group": {"template": "{g}"}}
    try:
        found = drafted(values, **change)
    except Refused:
        return
    assert found.query
    assert found.positives
    for part in (*found.query, *(p for c in (*found.positives, *found.negatives) for p in c)):
        part.value.encode()

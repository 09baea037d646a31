"""What the records say belongs together is never a negative, however it is written."""

from dataclasses import replace

import pytest

from data.mining.knowledge import Knowledge, content_key
from data.records import PartRef
from model.content import Modality
from tests.data.mining.toy import record, words

IMAGE = (PartRef(Modality.IMAGE, media="a" * 32),)


def relation(records, query: str, document, **options):
    known = Knowledge(records, **options)
    key = content_key(document)
    return known.relation(known.queries[content_key(words(query))], known.documents[key])


@pytest.mark.parametrize(
    ("records", "query", "document", "expected"),
    [
        ([record("1", "who", ["me"]), record("2", "other", ["thing"])], "who", words("thing"), None),
        ([record("1", "who", ["me"]), record("2", "who", ["you"])], "who", words("you"), "equal_query"),
        ([record("1", "who", ["me"]), record("2", " WHO ", ["you"])], "who", words("you"), "equal_query"),
        ([record("1", "who", ["me"]), record("2", "what", ["Me "], "z")], "who", words("me"), "equal_query"),
        ([record("1", "a", ["b"], "same"), record("2", "c", ["d"], "same")], "a", words("d"), "same_group"),
        ([record("1", "a", ["b"]), record("2", "c", ["a"])], "a", words("a"), "query_itself"),
        (
            [record("1", "a", ["b"]), record("2", "c", ["b", "d"])],
            "a",
            words("d"),
            "sibling",
        ),
        (
            [
                replace(record("1", "a", []), positives=((*IMAGE, *words("b")),)),
                replace(record("2", "c", []), positives=((*IMAGE, *words("d")),)),
            ],
            "a",
            (*IMAGE, *words("d")),
            "same_part",
        ),
    ],
)
def test_relations(records, query, document, expected) -> None:
    assert relation(records, query, document) == expected


def test_a_group_of_an_equal_query_counts_too() -> None:
    records = [record("1", "a", ["b"], "x"), record("2", "a", ["c"], "y"), record("3", "d", ["e"], "y")]
    assert relation(records, "a", words("e")) == "same_group"


def test_siblings_may_be_mined_where_that_is_wanted() -> None:
    records = [record("1", "a", ["b"]), record("2", "c", ["b", "d"])]
    assert relation(records, "a", words("d"), siblings=False) is None


def test_groups_that_are_never_mined_from_each_other() -> None:
    records = [record("1", "noon", ["12:00"], "clock face"), record("2", "today", ["date"], "calendar")]
    assert relation(records, "noon", words("date")) is None
    assert relation(records, "noon", words("date"), never_across=[["clock*", "calendar"]]) == "linked_group"
    assert relation(records, "noon", words("date"), never_across=[["clock*"], ["calendar"]]) is None


def test_a_hidden_positive_is_known_by_its_parts_alone() -> None:
    known = Knowledge([record("1", "a", ["b", "c"])])
    query, hidden = known.queries[content_key(words("a"))], content_key(words("c"))
    assert known.relation(query, known.documents[hidden]) == "equal_query"
    assert known.relation(query, known.documents[hidden], own=[hidden]) == "positive"
    assert known.relation(query, known.documents[hidden], hidden=hidden) is None

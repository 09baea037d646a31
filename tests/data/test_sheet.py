"""Samples cover every stratum that there is room for, and are the same every time."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sheet.sample import REASONS, allocate, draw, is_quarantine
from model.errors import DataError
from tests.data.sheet_corpus import write_corpus

NAMES = st.sampled_from("abc")
STRATA = st.dictionaries(
    st.tuples(NAMES, NAMES, NAMES, NAMES), st.lists(st.integers(), min_size=1, max_size=4), max_size=20
)


@given(STRATA, st.integers(0, 60))
def test_places_are_shared_fairly(strata: dict[tuple[str, ...], list[int]], count: int) -> None:
    chosen = allocate(strata, count)
    there = sum(map(len, strata.values()))
    assert sum(map(len, chosen.values())) == min(count, there)
    assert all(chosen[s] == strata[s][: len(chosen[s])] for s in chosen), "the best of each come first"
    got: dict[tuple[str, ...], int] = {}
    room: dict[tuple[str, ...], int] = {}
    for stratum, items in strata.items():
        got[stratum[:2]] = got.get(stratum[:2], 0) + len(chosen.get(stratum, ()))
        room[stratum[:2]] = room.get(stratum[:2], 0) + len(items)
    unfilled = [got[home] for home in got if got[home] < room[home]]
    if unfilled:
        assert max(got.values()) - min(unfilled) <= 1, "no source and task has two more than one that has more to show"


def test_every_stratum_is_there_and_a_larger_sample_holds_a_smaller_one(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path)
    small, large = draw(folder, 20), draw(folder, 200)
    assert draw(folder, 20) == small
    assert (len(small.samples), small.total) == (20, 45)
    assert large.shown == large.strata
    assert {s.row["id"] for s in small.samples} <= {s.row["id"] for s in large.samples}
    assert {s.row["source"] for s in small.samples} == {"words", "pictures", "sounds", "clips", "hostile"}


def test_a_shard_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path)
    (folder / "bad.parquet").write_bytes(b"nothing")
    assert list(draw(folder, 10).broken) == ["bad.parquet"]
    for path in folder.glob("*.parquet"):
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="no readable record"):
        draw(folder, 10)


def test_a_quarantine_is_drawn_by_reason(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path)
    assert not is_quarantine(folder)
    lines = [{"shard": "words.parquet", "kind": "record", "id": f"words/w{i}", "reasons": [f"r{i % 2}"], "message": ""}
             for i in range(30)]  # fmt: skip
    lines.append(
        {"shard": "x.parquet", "kind": "shard", "id": "x.parquet", "reasons": ["shard_unreadable"], "message": "no"}
    )
    (folder / REASONS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert is_quarantine(folder)
    drawn = draw(folder, 6)
    assert drawn.broken == {"x.parquet": "no"}
    words = [s.reasons for s in draw(folder, 100).samples if s.row["source"] == "words"]
    assert set(words) == {("r0",), ("r1",)}


def test_the_name_of_the_reasons_is_that_of_the_quarantine() -> None:
    from data import quarantine

    assert quarantine.REASONS == REASONS

"""The second opinion: a teacher refuses what it holds to be right, and says what it cannot judge."""

import pytest

from data.mining.judge import TeacherJudge
from data.mining.select import assign, judged
from data.records import ContentRef, Record
from model.content import Content, Modality, Part, image
from model.errors import ConfigError
from tests.conftest import make_png
from tests.data.mining.test_miner import apart, texts
from tests.data.mining.toy import miner


def resolve(_: Record, ref: ContentRef) -> Content:
    return Content(tuple(Part(p.modality, text=p.text) for p in ref))


class Wary:
    """Holds that ``d1`` answers everything, and nothing else but the right answer anything."""

    def __init__(self) -> None:
        self.prepared: set[str] = set()

    def prepare(self, queries, candidates) -> None:
        self.prepared |= {c.digest for c in (*queries, *candidates)}

    def __call__(self, query: Content, candidate: Content) -> float:
        assert {query.digest, candidate.digest} <= self.prepared
        asked, answer = query.parts[0].text or "", candidate.parts[0].text or ""
        return 0.9 if answer == "d1" or answer[1:] == asked[1:] else 0.1


def test_what_the_judge_holds_to_be_right_is_refused() -> None:
    records, vectors = apart()
    asked = miner(records, vectors, ratio=None, near=None, number=2)
    found = asked()
    allowed = asked.verdicts["allowed"]
    kept = judged(asked, found, Wary(), resolve, ratio=0.95, candidates=5)
    taken = assign(asked.pool, kept, asked.rules, asked.verdicts)
    assert texts(taken["toy/0"]) == ["d2", "d3"]
    assert not any("d1" in texts(negatives) for negatives in taken.values())
    assert asked.verdicts["judge"] == 11
    assert asked.verdicts["allowed"] == allowed - 11
    assert max(len(one.places_K) for one in kept) <= 5, "no more are judged than that"


def test_a_teacher_compares_by_its_own_vectors(tiny_encoder) -> None:
    teacher = TeacherJudge(tiny_encoder)
    query, same, other = Content.of("a red boat"), Content.of("a red boat"), Content.of("the price of tea")
    teacher.prepare([query], [same, other])
    assert teacher(query, same) == pytest.approx(1.0, abs=1e-5)
    assert teacher(query, other) < 0.9999


def test_a_teacher_that_lacks_a_modality_says_so(tiny_artifact) -> None:
    from model.artifact import load_encoder

    teacher = TeacherJudge(load_encoder(tiny_artifact, modalities=frozenset({Modality.TEXT})))
    with pytest.raises(ConfigError, match=r"takes no image .*judge\.tasks"):
        teacher.prepare([Content.of("a")], [Content((image(make_png()),))])

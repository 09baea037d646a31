"""What is mined keeps every rule, checked one by one on random corpora by the definition of the rule."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.mining.config import Rules
from data.mining.knowledge import content_key
from data.mining.miner import Miner, below
from data.mining.select import Negative, assign
from data.records import Record
from model.errors import ConfigError
from tests.data.mining.toy import any_vector, miner, record, unit, words


def mined(found: Miner) -> dict[str, list[Negative]]:
    return assign(found.pool, found(), found.rules, found.verdicts)


def texts(negatives: list[Negative]) -> list[str]:
    return [negative.document.ref[0].text or "" for negative in negatives]


@st.composite
def corpora(draw: st.DrawFn) -> list[Record]:
    """Records that share queries, positives and groups more often than real ones do."""
    rows = []
    for i in range(draw(st.integers(1, 25))):
        query = f"q{draw(st.integers(0, 12))}"
        positives = [f"d{n}" for n in draw(st.lists(st.integers(0, 20), min_size=1, max_size=3, unique=True))]
        rows.append(record(str(i), query, positives, f"g{draw(st.integers(0, 15))}"))
    return rows


RULES = st.fixed_dictionaries(
    {
        "number": st.integers(1, 4),
        "first_rank": st.integers(1, 4),
        "last_rank": st.integers(7, 12),
        "ratio": st.sampled_from([None, 0.5, 0.95]),
        "margin": st.sampled_from([None, 0.1]),
        "near": st.sampled_from([None, 0.3]),
        "against": st.sampled_from(["lowest", "highest"]),
        "ratio_from": st.sampled_from(["zero", "random"]),
        "pick": st.sampled_from(["hardest", "random"]),
        "max_uses": st.sampled_from([None, 1, 3]),
        "siblings": st.booleans(),
    }
)


@settings(max_examples=40, deadline=None)
@given(records=corpora(), rules=RULES)
def test_every_negative_keeps_every_rule(records: list[Record], rules: dict) -> None:
    found = miner(records, **rules)
    taken = mined(found)
    assert sorted(taken) == sorted(r.id for r in records), "every record is there, once"
    uses = Counter(text for negatives in taken.values() for text in texts(negatives))
    assert rules["max_uses"] is None or max(uses.values(), default=0) <= rules["max_uses"]
    for row in records:
        own = texts(taken[row.id])
        assert len(own) == len(set(own)) <= rules["number"]
        for text in own:
            check(records, row, text, found, rules)


def check(records: list[Record], row: Record, text: str, found: Miner, rules: dict) -> None:
    """The rules, from their definitions."""
    equal = [r for r in records if r.query == row.query]
    right = {p for r in equal for p in r.positives}
    holders = [r for r in records if words(text) in r.positives]
    assert words(text) not in right
    assert not {r.group for r in equal} & {r.group for r in holders}
    beside = {p for r in records for h in holders if r.query == h.query for p in r.positives}
    assert not rules["siblings"] or not beside & right
    query = any_vector(row.query[0].text or "")
    positives = np.stack([any_vector(p[0].text or "") for p in right])
    score, cosines = float(any_vector(text) @ query), positives @ query
    bar = float(cosines.min() if rules["against"] == "lowest" else cosines.max())
    floor = found.floor if rules["ratio_from"] == "random" else 0.0
    if rules["ratio"] is not None:
        assert score <= bar - (1 - rules["ratio"]) * abs(bar - floor) + 1e-6
    if rules["margin"] is not None:
        assert score <= bar - rules["margin"] + 1e-6
    if rules["near"] is not None:
        assert float((positives @ any_vector(text)).max()) <= rules["near"] + 1e-6


def apart(count: int = 12) -> tuple[list[Record], dict[str, np.ndarray]]:
    """Queries that all look one way, with documents in falling order of their cosine with them."""
    records = [record(str(i), f"q{i}", [f"d{i}"]) for i in range(count)]
    cosines = np.linspace(0.9, 0.2, count)
    vectors = {f"q{i}": np.array([1, 0, 0], np.float32) for i in range(count)}
    for i, cosine in enumerate(cosines):
        angle = 0.4 * i
        rest = np.sqrt(1 - cosine**2)
        vectors[f"d{i}"] = unit(np.array([cosine, rest * np.cos(angle), rest * np.sin(angle)]))
    return records, vectors


def test_the_rank_window_counts_documents_of_which_nothing_is_known() -> None:
    records, vectors = apart()
    loose = {"ratio": None, "near": None, "number": 2}
    assert texts(mined(miner(records, vectors, **loose))["toy/0"]) == ["d1", "d2"]
    assert texts(mined(miner(records, vectors, **loose, first_rank=3))["toy/0"]) == ["d3", "d4"]
    assert texts(mined(miner(records, vectors, **loose, first_rank=2, last_rank=3))["toy/5"]) == ["d1", "d2"]
    vectors["other"] = vectors["q0"]
    kin = [record("0b", "other", ["d1"], "0"), *records]
    assert texts(mined(miner(kin, vectors, **loose))["toy/0"]) == ["d2", "d3"], "d1 is of its group now"


def test_ratio_and_margin_leave_out_what_is_as_good_as_the_positive() -> None:
    records, vectors = apart()
    own = {"near": None, "number": 1}
    for rules in ({"ratio": 0.95}, {"ratio": None, "margin": 0.03}):
        found = miner(records, vectors, **own, **rules)
        taken = mined(found)
        assert texts(taken["toy/0"]) == ["d1"]
        assert int(texts(taken["toy/6"])[0][1:]) == 7
        assert found.verdicts["ratio" if rules["ratio"] else "margin"] > 0


def test_of_several_positives_the_lowest_or_any() -> None:
    records, vectors = apart()
    records[2] = record("2", "q2", ["d0", "d2", "d6"])
    own = {"near": None, "number": 1, "ratio": 1.0}
    assert texts(mined(miner(records, vectors, **own))["toy/2"]) == ["d7"]
    assert texts(mined(miner(records, vectors, **own, against="highest"))["toy/2"]) == ["d1"]


def test_a_bar_below_zero_gets_lower_by_the_ratio_not_higher() -> None:
    assert below(0.8, 0.5) == pytest.approx(0.4)
    assert below(-0.2, 0.5) == pytest.approx(-0.3)
    assert below(0.8, 0.5, floor=0.6) == pytest.approx(0.7)
    assert below(0.8, 1.0, floor=0.6) == below(0.8, 1.0) == 0.8


def test_a_document_that_is_near_to_a_positive_is_refused() -> None:
    records, vectors = apart()
    vectors["d4"] = vectors["d0"] + np.float32(1e-3)
    found = miner(records, vectors, ratio=None, near=0.99, number=3)
    assert "d4" not in texts(mined(found)["toy/0"])
    assert "d4" in texts(mined(found)["toy/1"])
    assert "d4" in texts(mined(miner(records, vectors, ratio=None, near=None, number=3))["toy/0"])


def test_a_hub_is_dealt_out_evenly_and_counted() -> None:
    records, vectors = apart()
    loose = {"ratio": None, "near": None, "number": 2}
    found = miner(records, vectors, **loose, max_uses=2)
    uses = Counter(text for negatives in mined(found).values() for text in texts(negatives))
    assert max(uses.values()) == 2
    assert found.verdicts["hub"] > 0
    free = miner(records, vectors, **loose, max_uses=12)
    assert max(Counter(t for n in mined(free).values() for t in texts(n)).values()) == 11


def test_a_query_that_is_known_to_belong_to_nearly_everything_is_searched_deeper() -> None:
    """More is known of the query than what the first search brings, so that it sees nothing else."""
    count = 120
    records, vectors = apart(count)
    records = [record(str(i), f"q{i}", [f"d{i}"], "big" if i < 100 else f"g{i}") for i in range(count)]
    rules = {"ratio": None, "near": None, "number": 3, "last_rank": 5, "max_uses": count}
    assert texts(mined(miner(records, vectors, **rules))["toy/0"]) == ["d100", "d101", "d102"]


def test_candidates_of_the_same_source_or_languages_only() -> None:
    records, vectors = apart()
    records = [
        record(str(i), f"q{i}", [f"d{i}"], source=f"s{i % 2}", languages=("en", ("de", "fr", "ja")[i % 3]))
        for i in range(12)
    ]
    loose = {"ratio": None, "near": None, "number": 2}
    sources = mined(miner(records, vectors, {"within": ["source"]}, **loose))
    assert texts(sources["toy/0"]) == ["d2", "d4"]
    both = mined(miner(records, vectors, {"within": ["source", "languages"]}, **loose))
    assert texts(both["toy/0"]) == ["d6"]


def test_a_pool_over_tasks_holds_documents_of_the_same_kind() -> None:
    records, vectors = apart(4)
    records[3] = record("3", "q3", ["d3"], task="another")
    loose = {"ratio": None, "near": None, "number": 3}
    assert texts(mined(miner(records, vectors, **loose))["toy/0"]) == ["d1", "d2"]
    wide = mined(miner(records, vectors, {"pool": "modality"}, **loose))
    assert texts(wide["toy/0"]) == ["d1", "d2", "d3"]
    assert "toy/3" not in wide


def test_a_record_that_has_a_document_already_gets_another() -> None:
    records, vectors = apart()
    records[0] = record("0", "q0", ["d0"], negatives=(words("d1"),))
    loose = {"ratio": None, "near": None, "number": 2}
    assert texts(mined(miner(records, vectors, **loose))["toy/0"]) == ["d2", "d3"]
    assert texts(mined(miner(records, vectors, **loose, existing="replace"))["toy/0"]) == ["d1", "d2"]


@pytest.mark.parametrize("pick", ["hardest", "random"])
def test_the_order_of_the_records_changes_nothing(pick: str) -> None:
    records = [record(str(i), f"q{i}", [f"d{i}"]) for i in range(30)]
    rules = {"ratio": None, "near": None, "pick": pick, "max_uses": 3, "last_rank": 20}
    first = {name: texts(own) for name, own in mined(miner(records, **rules)).items()}
    second = {name: texts(own) for name, own in mined(miner(records[::-1], **rules)).items()}
    assert first == second
    if pick == "random":
        other = {name: texts(own) for name, own in mined(miner(records, **rules, seed=8)).items()}
        assert first != other


def test_verdicts_name_every_candidate_once() -> None:
    records, vectors = apart()
    found = miner(records, vectors, last_rank=50)
    one = found.examine(0)
    assert sorted(found.pool.documents[e.place].key for e in one) == sorted(d.key for d in found.pool.documents)
    assert [e.verdict for e in one if found.pool.documents[e.place].key == content_key(words("d0"))] == ["positive"]


def test_a_window_that_is_too_narrow_is_refused() -> None:
    with pytest.raises(ConfigError, match="hold fewer than the number=4"):
        Rules.parse({"first_rank": 10, "last_rank": 12})

"""Right documents that the miner isn't told about are refused, nearly all; without the rules nearly all are taken."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from data.mining.alter import altered
from data.mining.config import PlantConfig
from data.mining.plants import KINDS, Outcome, estimate, wilson
from data.records import ContentRef, Record
from model.content import Content, Part, audio, image, text, video
from model.encoder import Limits
from model.media.audio import decode_audio
from tests.conftest import make_mp4, make_ogg, make_png
from tests.data.mining.toy import miner, record, unit

WIDTH = 48


def corpus(count: int = 80, noise: float = 0.35) -> tuple[list[Record], dict[str, np.ndarray]]:
    """Queries with three right answers each, all of them near one direction; every fifth is near the one before."""
    rng = np.random.default_rng(3)
    records, vectors = [], {}
    topic = np.zeros(WIDTH)
    for i in range(count):
        topic = topic if i % 5 == 4 else unit(rng.standard_normal(WIDTH))
        own = unit(topic + 0.9 * unit(rng.standard_normal(WIDTH)))
        names = [f"d{i}/{j}" for j in range(3)]
        for name in (f"q{i}", *names):
            vectors[name] = unit(own + noise * unit(rng.standard_normal(WIDTH)))
        records.append(record(str(i), f"q{i}", names))
    return records, vectors


def resolve(_: Record, ref: ContentRef) -> Content:
    return Content(tuple(Part(p.modality, text=p.text) for p in ref))


def outcomes(rules: dict, noise: float = 0.35, near: float = 0.02) -> dict[str, Outcome]:
    records, vectors = corpus(noise=noise)
    rng = np.random.default_rng(5)

    def embed(contents) -> np.ndarray:
        found = [vectors[(c.parts[0].text or "").rstrip(".")] for c in contents]
        return unit(np.stack(found) + near * unit(rng.standard_normal((len(found), WIDTH))))

    return estimate(miner(records, vectors, **rules), PlantConfig(queries=60), resolve, embed)


def test_planted_right_documents_are_refused() -> None:
    found = outcomes({"number": 4, "last_rank": 30})
    for kind in KINDS:
        outcome = found[kind]
        assert outcome.planted == 60, kind
        assert outcome.refused >= 0.95, (kind, outcome)
        assert outcome.taken_without >= 0.9 * outcome.planted, (kind, outcome)
        assert outcome.taken + sum(outcome.verdicts.values()) == outcome.planted, "what isn't taken has a reason"
    assert set(found["copy"].verdicts) == {"equal_query"}


def test_the_estimate_sees_rules_that_are_too_loose() -> None:
    found = outcomes({"number": 4, "last_rank": 30, "ratio": None, "near": None})
    assert found["hidden"].refused < 0.2
    assert found["altered"].refused < 0.2
    assert found["copy"].refused == 1.0


def test_one_query_of_a_group_is_asked() -> None:
    records, vectors = corpus()
    records = [record(r.id, r.query[0].text or "", [p[0].text or "" for p in r.positives], "one") for r in records]
    found = estimate(
        miner(records, vectors), PlantConfig(queries=60), resolve, lambda c: np.stack([vectors["q0"]] * len(c))
    )
    assert [found[kind].planted for kind in KINDS] == [1, 1, 1]


def test_queries_with_one_positive_have_none_to_hide() -> None:
    records = [record(str(i), f"q{i}", [f"d{i}"]) for i in range(5)]
    found = estimate(miner(records), PlantConfig(), resolve, lambda c: np.ones((len(c), 16), np.float32) / 4)
    assert found["hidden"].planted == 0
    assert math.isnan(found["hidden"].refused)
    assert found["hidden"].interval() == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "trials", "low", "high"), [(0, 10, 0.0, 0.2775), (95, 100, 0.8882, 0.9785)])
def test_wilson(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_altered_contents_say_the_same_in_other_bytes() -> None:
    content = Content.of("a bird", image(make_png()), audio(make_ogg()))
    found = altered(content)
    assert found is not None
    assert found.parts[0].text == "a bird."
    assert [a.digest != b.digest for a, b in zip(content.parts, found.parts, strict=True)] == [True] * 3
    with Image.open(io.BytesIO(found.parts[1].data or b"")) as picture:
        assert picture.size == (42, 28)
    before, after = (decode_audio(c.parts[2].data or b"", Limits()) for c in (content, found))
    assert np.corrcoef(before, after)[0, 1] > 0.999
    assert altered(Content((text("done."),))).parts[0].text == "done"  # type: ignore[union-attr]
    assert altered(Content((video(make_mp4()),))) is None

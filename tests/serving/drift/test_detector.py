"""Statistical properties of the drift decision: rate of false alarms, power, and honesty about small samples."""

import numpy as np
import pytest
from scipy.stats import binom

from model.errors import DataError
from serving.drift.config import DriftConfig
from serving.drift.detector import Detector
from serving.drift.statistic import Space, separability
from serving.drift.window import Window

DIMENSION = 32
FAST = DriftConfig(resamples=39, false_alarm_rate=0.1, components=16)


def draw(rng: np.random.Generator, rows: int, *, shift: float = 0.0, kind: str = "text", longer: float = 1.0) -> Window:
    """Unit vectors around a common direction; ``shift`` moves them along one other axis."""
    vectors = rng.normal(size=(rows, DIMENSION))
    vectors[:, 0] += 3
    vectors[:, 1] += shift
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chars = rng.poisson(40 * longer, rows)
    features = np.column_stack([np.ones(rows), chars, chars // 4, *np.zeros((4, rows))])
    scripts = rng.choice(["Latn", "Cyrl"], rows)
    return Window(np.full(rows, kind), scripts, np.log1p(features), vectors.astype(np.float32), {})


def join(*windows: Window) -> Window:
    """Rows of several windows."""
    return Window(
        np.concatenate([w.kinds_N for w in windows]),
        np.concatenate([w.scripts_N for w in windows]),
        np.concatenate([w.features_NF for w in windows]),
        np.concatenate([w.vectors_ND for w in windows]),
        {},
    )


@pytest.mark.parametrize(("reference_rows", "rows"), [(360, 80), (180, 60)])
def test_false_alarm_rate_holds_on_windows_without_drift(reference_rows: int, rows: int) -> None:
    rng = np.random.default_rng(7)
    alarms = trials = 0
    for seed in range(4):
        detector = Detector(draw(rng, reference_rows), FAST.model_copy(update={"seed": seed}))
        for _ in range(15):
            alarms += detector.compare(draw(rng, rows)).alarm
            trials += 1
    # 99.9 % bound of the binomial at the stated rate; a rate of 0.35 would exceed it almost surely.
    bound = int(binom.ppf(0.999, trials, FAST.false_alarm_rate))
    assert alarms <= bound < binom.ppf(0.05, trials, 0.35)


def test_several_kinds_share_one_false_alarm_rate() -> None:
    rng = np.random.default_rng(3)
    kinds = ("audio", "image", "text", "video")
    detector = Detector(join(*(draw(rng, 180, kind=k) for k in kinds)), FAST)
    verdicts = [detector.compare(join(*(draw(rng, 60, kind=k) for k in kinds))) for _ in range(12)]
    assert sum(v.alarm for v in verdicts) <= binom.ppf(0.999, 12, FAST.false_alarm_rate)
    # Each of four kinds is tested at a quarter of the rate: the largest of 39 drift-free values.
    assert all("level 0.025" in verdict.note for verdict in verdicts[0].kinds.values())


def test_threshold_grows_with_the_number_of_kinds() -> None:
    rng = np.random.default_rng(5)
    one, two = draw(rng, 300), draw(rng, 300, kind="image")
    window = draw(rng, 80)
    alone = Detector(one, FAST).compare(window).kinds["text"]
    both = Detector(join(one, two), FAST).compare(join(window, draw(rng, 80, kind="image"))).kinds["text"]
    assert alone.threshold is not None
    assert both.threshold is not None
    assert both.threshold >= alone.threshold


@pytest.mark.parametrize("change", [{"shift": 2.0}, {"longer": 3.0}])
def test_planted_drift_is_found_in_its_kind_only(change: dict[str, float]) -> None:
    rng = np.random.default_rng(1)
    detector = Detector(join(draw(rng, 400), draw(rng, 400, kind="image")), FAST)
    clean = detector.compare(join(draw(rng, 100), draw(rng, 100, kind="image")))
    shifted = detector.compare(join(draw(rng, 100), draw(rng, 100, kind="image", **change)))
    assert not clean.alarm
    assert shifted.alarm
    assert shifted.kinds["text"].state == "stable"
    image = shifted.kinds["image"]
    assert image.state == "drift"
    assert image.auc is not None
    assert image.threshold is not None
    assert image.auc > image.threshold > 0.5
    assert image.p_value == pytest.approx(1 / 40)


def test_new_kind_is_an_alarm_and_few_rows_are_not_judged() -> None:
    rng = np.random.default_rng(2)
    detector = Detector(join(draw(rng, 200), draw(rng, 100, kind="image")), FAST)
    verdict = detector.compare(
        join(
            draw(rng, 20, shift=5), draw(rng, 60, kind="video"), draw(rng, 9, kind="audio"), draw(rng, 60, kind="image")
        )
    )
    states = {kind: v.state for kind, v in verdict.kinds.items()}
    assert states == {"text": "not_enough_data", "video": "new", "audio": "not_enough_data", "image": "not_enough_data"}
    assert verdict.alarm
    assert verdict.kinds["text"].auc is None
    assert "20 rows, 50 are needed" in verdict.kinds["text"].note
    assert "reference holds 100 rows, 150 are needed" in verdict.kinds["image"].note


def test_resamples_are_raised_when_many_kinds_need_a_stricter_level() -> None:
    rng = np.random.default_rng(4)
    config = FAST.model_copy(update={"resamples": 19, "false_alarm_rate": 0.05})
    kinds = ("a", "b")
    detector = Detector(join(*(draw(rng, 160, kind=k) for k in kinds)), config)
    verdict = detector.compare(join(draw(rng, 50, shift=4, kind="a"), draw(rng, 50, kind="b")))
    assert verdict.kinds["a"].p_value == pytest.approx(1 / 40)
    assert verdict.kinds["a"].state == "drift"


def test_same_seed_gives_the_same_verdict() -> None:
    reference, window = draw(np.random.default_rng(0), 200), draw(np.random.default_rng(1), 70)
    assert Detector(reference, FAST).compare(window) == Detector(reference, FAST).compare(window)


def test_vectors_of_another_model_are_refused() -> None:
    rng = np.random.default_rng(0)
    window = draw(rng, 60)
    other = Window(window.kinds_N, window.scripts_N, window.features_NF, window.vectors_ND[:, :16], {})
    with pytest.raises(DataError, match="32-dimensional vectors and the window 16"):
        Detector(draw(rng, 160), FAST).compare(other)


def test_features_that_the_reference_lacks_take_no_part() -> None:
    rng = np.random.default_rng(0)
    reference = draw(rng, 200)
    reference.features_NF[:, 2] = np.nan
    space = Space.fit(reference, 8)
    window = draw(rng, 60)
    changed = Window(window.kinds_N, window.scripts_N, window.features_NF.copy(), window.vectors_ND, {})
    changed.features_NF[:, 2] += 9
    np.testing.assert_array_equal(space(window), space(changed))
    assert np.isfinite(space(window)).all()


def test_statistic_is_about_half_without_and_one_with_a_clear_difference() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 5))
    assert separability(rows[:400], rows[400:], 3, 0) == pytest.approx(0.5, abs=0.08)
    assert separability(rows[:400], rows[400:] + 9, 3, 0) == 1.0

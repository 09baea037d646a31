"""Of more items with one key than are compared with each other, no pair between splits is missed, or it is told."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.audit.audit import not_compared, why_stop
from data.audit.banding import Crossing, chained, runs
from data.audit.candidates import _alike, candidates
from data.audit.identities import Identities
from data.audit.rules import AuditRules, MediaRules
from data.fingerprints.units import SIGNATURE_BYTES
from tests.data.audit.test_audit import Corpus, audit, drawing, encoded, sentence

TRAIN, VALIDATION, TEST = 1, 2, 4


def leaks(splits: np.ndarray, a: int, b: int) -> bool:
    """Whether two can be a leak: they do not lie in one and the same split alone."""
    return int(splits[a] | splits[b]).bit_count() > 1


@st.composite
def crowds(draw: st.DrawFn) -> tuple[str, Identities, np.ndarray]:
    """Media of which many share a word, with near words beside; in any splits."""
    kind = draw(st.sampled_from(["image", "document"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.sampled_from([5, 30, 75]))
    sizes = rng.integers(1, 3, count) if kind == "document" else np.ones(count, dtype=np.int64)
    units = np.concatenate([[0], np.cumsum(sizes)])
    words = rng.integers(1, 2**63, 2, dtype=np.uint64)
    words = np.concatenate([words, words ^ np.uint64(0b1011), rng.integers(1, 2**63, 1, dtype=np.uint64)])
    search = rng.choice(words, (units[-1], 1), p=[0.55, 0.2, 0.15, 0.05, 0.05])
    if kind == "document":  # pages without a text
        search = np.concatenate([search, np.zeros_like(search)], axis=1)
    looks = rng.integers(0, 256, (4, SIGNATURE_BYTES))
    signature = np.clip(looks[rng.integers(0, 4, units[-1])] + rng.integers(-20, 21, (units[-1], 1)), 0, 255)
    splits = rng.choice([1, 2, 4, 3, 5, 6, 7], count, p=[0.6, 0.1, 0.2, 0.03, 0.03, 0.02, 0.02]).astype(np.uint8)
    return kind, Identities(np.arange(count), units, search, signature.astype(np.uint8)), splits


def by_force(found: Identities, rules: MediaRules) -> set[tuple[int, int]]:
    """All units with all others."""
    first, second = np.triu_indices(len(found.search), 1)
    near = np.bitwise_count(found.search[first, 0] ^ found.search[second, 0]) <= rules.bits
    near &= _alike(found, first, second, rules)
    owners = zip(found.owner[first[near]].tolist(), found.owner[second[near]].tolist(), strict=True)
    return {(a, b) for a, b in owners if a != b}


@settings(max_examples=8, deadline=None)
@given(crowd=crowds())
def test_no_leak_is_missed_in_a_crowd(crowd: tuple[str, Identities, np.ndarray]) -> None:
    kind, found, splits = crowd
    rules = MediaRules(bucket=4)
    pairs, left_out = candidates(kind, found, splits, rules)
    met, true = {(int(a), int(b)) for a, b in pairs}, by_force(found, rules)
    assert left_out == 0
    assert met <= true
    assert {p for p in true if leaks(splits, *p)} == {p for p in met if leaks(splits, *p)}


def test_without_them_leaks_would_be_missed_and_are_counted() -> None:
    splits = np.array([TRAIN] * 100 + [VALIDATION] * 50 + [TEST] * 50, dtype=np.uint8)
    run = runs(np.zeros(200, np.uint64), splits)
    crossing = Crossing(splits, 100 * 50 - 1)
    few = {(min(p), max(p)) for p in chained(*run, 64, crossing)}
    possible = {p for p in combinations(range(200), 2) if leaks(splits, *p)}
    assert crossing.left_out == len(possible) == 100 * 50 * 2 + 50 * 50
    assert possible - few
    crossing = Crossing(splits, len(possible))
    assert possible <= {(min(p), max(p)) for p in chained(*run, 64, crossing)}
    assert crossing.left_out == 0


def test_what_lies_in_two_splits_meets_its_like() -> None:
    splits = np.array([TRAIN | TEST] * 9 + [TEST] * 3, dtype=np.uint8)
    assert len(list(Crossing(splits, 1000).of(list(range(12))))) == 9 * 8 // 2 + 9 * 3
    assert len(list(Crossing(splits, 1000).between([0, 9], [1, 10]))) == 3  # all but two of the test split


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_crowd_of_near_duplicates_hides_none(modality: str, tmp_path) -> None:
    """Ten of test, more than are compared with all, among others of train: all are near-duplicates."""
    corpus = Corpus()
    for seed in range(16):
        split = "test" if seed < 10 else "train"
        if modality == "image":
            image = drawing(9)
            image.putpixel((seed % 12, seed // 12), (255, 0, 0))
            corpus.add(f"{seed}", "image", encoded(image), split)
        else:
            words = sentence(1, 40).split()
            words[seed] = "xylophone"
            corpus.add(f"{seed}", "text", " ".join(words), split)
    directory = corpus.write(tmp_path / "corpus")
    for crossing, complete in ((100_000, True), (5, False)):
        limits = {"bucket": 8, "crossing": crossing}
        policies = {modality: {"across": "fail" if not complete else "drop"}}
        rules = AuditRules.parse({"text": limits, "media": limits, "policies": policies})
        found = audit(directory, rules, tmp_path / "scratch")
        across = {frozenset(p.records) for p in found.findings.pairs if p.scope == "across"}
        if complete:
            assert len(across) == 10 * 6
            assert not found.findings.left_out
            assert len(found.verdicts.refused) == 6
        else:
            # Texts meet in other bands, where they are fewer.
            assert len(across) < 10 * 6 or modality == "text"
            assert found.findings.left_out[modality] >= 9
            (line,) = not_compared(found).values()
            assert line in why_stop(found, rules)

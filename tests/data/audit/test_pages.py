"""Pages that both have a text are candidates by it, however alike they look; the others by their looks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data.audit.candidates import candidates
from data.audit.identities import Identities
from data.audit.rules import MediaRules
from data.fingerprints.units import SIGNATURE_BYTES

RULES = MediaRules()


def pages(texts: list[int], *, seed: int = 0) -> Identities:
    """One-page documents of one look, with these similarity hashes of their texts; 0 has none."""
    rng = np.random.default_rng(seed)
    look = rng.integers(0, 256, SIGNATURE_BYTES)
    signatures = np.clip(look + rng.integers(-2, 3, (len(texts), SIGNATURE_BYTES)), 0, 255).astype(np.uint8)
    words = rng.integers(1, 2**63, dtype=np.uint64) ^ (np.uint64(1) << rng.integers(0, 3, len(texts)).astype(np.uint64))
    search = np.stack([words, np.array(texts, dtype=np.uint64)], axis=1)
    return Identities(np.arange(len(texts)), np.arange(len(texts) + 1), search, signatures)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 3, 0b1111111, 2**40 + 1, 2**64 - 1]), min_size=2, max_size=12))
def test_every_pair_that_could_be_one_and_no_other(texts: list[int]) -> None:
    found, _ = candidates("document", pages(texts), np.ones(len(texts), dtype=np.uint8), RULES)
    pairs = [(a, b) for b in range(len(texts)) for a in range(b)]
    may = {(a, b) for a, b in pairs if not (texts[a] and texts[b])}
    may |= {(a, b) for a, b in pairs if (texts[a] ^ texts[b]).bit_count() <= RULES.page_bits}
    assert {(a, b) for a, b in found.tolist()} == may


def test_pages_of_text_that_look_alike_are_not_all_compared() -> None:
    texts = np.random.default_rng(1).integers(1, 2**63, 300).tolist()
    assert len(candidates("document", pages(texts), np.ones(300, dtype=np.uint8), RULES)[0]) == 0

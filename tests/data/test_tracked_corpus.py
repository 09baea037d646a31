"""The corpus in the checkout is the one that dvc.lock records."""

from pathlib import Path

import pytest

from data.versioning import corpus_version

STARTER = Path(__file__).parents[2] / "data" / "starter"


@pytest.mark.skipif(not STARTER.is_dir(), reason="the starter corpus is not part of this checkout")
def test_starter_corpus_is_the_recorded_one() -> None:
    version = corpus_version(STARTER)
    assert version.matches, f"{version.sentence()} Record it with `dvc commit -f starter`."

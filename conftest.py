"""Fixtures for every test of the repository."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "tests" / "golden"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with a golden file; ``make golden`` rewrites the files instead."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if os.environ.get("OMNIVEC_UPDATE_GOLDEN"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        assert path.is_file(), f"{path} is missing: run 'make golden' and review it"
        assert text == path.read_text(encoding="utf-8"), f"{name} changed: run 'make golden' and review the difference"

    return check

"""What the container tests share: the engine and the image that `make test-containers` has prepared."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

IMAGE = "OMNIVEC_STEP_IMAGE"
USER = 10001


@pytest.fixture(scope="session")
def image() -> str:
    """Image of the steps, by digest, as pulled from a registry."""
    if IMAGE not in os.environ:
        pytest.skip(f"needs an engine, and an image in {IMAGE}: run by make test-containers")
    return os.environ[IMAGE]


@pytest.fixture
def owned(image: str) -> Callable[[Path], Path]:
    """Makes a directory of the user that steps run as."""

    def make(directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        os.chown(directory, USER, USER)
        return directory

    return make

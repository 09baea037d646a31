from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.sources import motion
from data.sources.concepts import Concept

CONCEPT = Concept("1f408", {"en": "cat", "de": "Katze", "fr": "chat", "es": "gato"}, (), "animal-mammal")


@pytest.fixture(autouse=True)
def _drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = Image.new("RGBA", (64, 64))
    drawing.paste((0, 90, 0, 255), (8, 8, 56, 56))
    monkeypatch.setattr(motion, "picture", lambda cache, artist, concept: drawing)


def _mass(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight, x and y of what differs from the background, by frame."""
    frames_THW3 = motion.clip(Path("unused"), CONCEPT, name).astype(float)
    assert frames_THW3.shape == (16, 112, 112, 3)
    weight_THW = np.abs(frames_THW3 - frames_THW3[0, 0, 0]).sum(-1)
    total_T = weight_THW.sum((1, 2))
    safe_T = np.maximum(total_T, 1e-9)
    rows, columns = np.mgrid[:112, :112]
    return total_T, (weight_THW * columns).sum((1, 2)) / safe_T, (weight_THW * rows).sum((1, 2)) / safe_T


@pytest.mark.parametrize(("name", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("up", 2, -1), ("down", 2, 1)])
def test_moves_go_one_way_at_full_size(name: str, axis: int, sign: int) -> None:
    track = _mass(name)
    steps = np.diff(track[axis]) * sign
    assert (steps > 0).all()
    assert steps.sum() > 112 / 3
    assert np.abs(np.diff(track[3 - axis])).max() < 1
    assert track[0] == pytest.approx(track[0][0], rel=0.01)


def test_opposites_are_the_same_frames_backwards() -> None:
    for name in ("left", "up", "grow", "appear"):
        forward = motion.clip(Path("unused"), CONCEPT, name).astype(int)
        backward = motion.clip(Path("unused"), CONCEPT, motion.OPPOSITE[name]).astype(int)
        assert np.abs(forward - backward[::-1]).max() <= 2


def test_extent_and_visibility_change_as_named() -> None:
    grows, _, _ = _mass("grow")
    assert (np.diff(grows) > 0).all()
    assert grows[-1] > 4 * grows[0]
    appears, _, _ = _mass("appear")
    assert appears[0] == 0
    assert (appears > 0.99 * appears[-1]).sum() >= 8


def test_a_jump_returns_to_where_it_began() -> None:
    _, _, y = _mass("jump")
    assert abs(y[0] - y[-1]) < 1
    assert y[0] - y[7] > 112 / 3


def test_captions_name_every_motion_differently_in_each_language() -> None:
    assert motion.OPPOSITE.keys() == motion.MOTIONS.keys()
    for captions in motion.CAPTIONS.values():
        assert captions.keys() == motion.MOTIONS.keys()
        assert len(set(captions.values())) == len(motion.MOTIONS)

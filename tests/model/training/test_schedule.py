"""How rates change over the steps."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.training.schedule import SHAPES, scheduled


def rates(shape: str, warmup: int, steps: int, **ends: float) -> list[float]:
    """Rate of each step of an optimizer whose highest rate is 1, and the one after the last."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = scheduled(optimizer, shape, warmup, steps, **ends)
    found = []
    for _ in range(steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_cosine_is_what_it_was_to_the_last_bit() -> None:
    """Golden curves and checkpoints of before depend on it."""

    def before(step: int) -> float:
        if step < 5:
            return (step + 1) / 6
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - 5) / max(1, 23 - 5))))

    assert rates("cosine", 5, 23) == [before(step) for step in range(24)]


@given(st.sampled_from(sorted(SHAPES)), st.integers(0, 8), st.integers(9, 40), st.floats(0, 1), st.floats(0.05, 1))
def test_every_shape_rises_to_one_and_never_rises_again(shape, warmup, steps, final, share) -> None:
    found = rates(shape, warmup, steps, final=final, decay_share=share)
    rise, fall = found[: warmup + 1], found[warmup:]
    assert all(a < b for a, b in pairwise(rise))
    assert found[warmup] == pytest.approx(1.0)
    assert all(a >= b - 1e-12 for a, b in pairwise(fall))
    assert found[-1] == pytest.approx(1.0 if shape == "constant" else final)


def test_each_shape_has_its_form() -> None:
    assert rates("linear", 0, 4, final=0.2) == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    assert rates("constant", 0, 3, final=0.2) == [1, 1, 1, 1]
    wsd = rates("wsd", 0, 20, decay_share=0.2)
    assert wsd[:17] == pytest.approx([1.0] * 17)
    assert wsd[17] == pytest.approx(1 - math.sqrt(1 / 4)), "the decay of wsd is 1 - sqrt"

"""A soup is never worse than its best ingredient, whatever the score says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import ConfigError
from model.training.soup import Ingredient, average, cook


def ingredients(values: list[float]) -> list[Ingredient]:
    return [Ingredient(f"i{n}", {"w": torch.tensor([v])}) for n, v in enumerate(values)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=5), st.sampled_from(["uniform", "greedy"]), st.floats(-5, 5))
def test_never_worse_than_the_best_ingredient(values: list[float], method: str, peak: float) -> None:
    def score(state) -> float:
        return -abs(float(state["w"]) - peak)

    soup = cook(ingredients(values), score, method)
    assert soup.score == max(soup.tried.values()) >= max(score(i.state) for i in ingredients(values))
    assert score(soup.state) == pytest.approx(soup.score)


def test_averaging_helps_when_the_best_lies_between() -> None:
    soup = cook(ingredients([0.0, 2.0]), lambda s: -abs(float(s["w"]) - 1.0), "greedy")
    assert soup.members == ("i0", "i1")
    assert float(soup.state["w"]) == 1.0


def test_ingredients_of_another_lineage_are_refused() -> None:
    with pytest.raises(ConfigError, match="one lineage"):
        average([{"a": torch.zeros(1)}, {"b": torch.zeros(1)}])

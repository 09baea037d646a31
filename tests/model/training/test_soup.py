"""A soup is never worse than its best ingredient, whatever the score says."""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import ConfigError
from model.training.soup import Ingredient, average, cook, slerp


def ingredients(values: list[float]) -> list[Ingredient]:
    return [Ingredient(f"i{n}", {"w": torch.tensor([v])}) for n, v in enumerate(values)]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=5),
    st.sampled_from(["uniform", "greedy", "slerp"]),
    st.floats(-5, 5),
)
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
    with pytest.raises(ConfigError, match="one lineage"):
        cook([Ingredient("a", {"w": torch.zeros(2)}), Ingredient("b", {"w": torch.zeros(3)})], lambda _: 0.0, "slerp")
    with pytest.raises(ConfigError, match="name of its own"):
        cook(2 * ingredients([1.0]), lambda _: 0.0, "greedy")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=3).flatmap(
        lambda row: st.lists(st.just(row) | st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=1, max_size=6)
    ),
    st.sampled_from(["uniform", "greedy", "slerp"]),
    st.integers(0, 2**32),
)
def test_random_scores_never_bring_a_worse_soup(rows: list[list[float]], method: str, seed: int) -> None:
    """The score is noise, as with few validation queries: the gate has to hold whatever it says."""
    rng, known = random.Random(seed), {}

    def score(state) -> float:
        return known.setdefault(tuple(state["w"].tolist()), rng.choice([0.0, 0.25, 0.5, rng.random()]))

    given_ = [Ingredient(f"i{n}", {"w": torch.tensor(row)}) for n, row in enumerate(rows)]
    singles = [score(i.state) for i in given_]
    soup = cook(given_, score, method)
    assert soup.score >= max(singles)
    assert score(soup.state) == soup.score == soup.tried["+".join(soup.members)]
    assert torch.isfinite(soup.state["w"]).all()


def test_slerp_follows_the_arc() -> None:
    one, other = {"w": torch.tensor([[2.0, 0.0]])}, {"w": torch.tensor([[0.0, 2.0]])}
    half = slerp(one, other, 0.5)["w"]
    assert half.norm().item() == pytest.approx(2.0), "a line would cut the corner"
    assert half.flatten().tolist() == pytest.approx([math.sqrt(2)] * 2)
    third = slerp(one, other, 1 / 3)["w"].flatten().tolist()
    assert third == pytest.approx([2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)])
    assert torch.equal(slerp(one, other, 0.0)["w"], one["w"])


@pytest.mark.parametrize("other", [[2.0002, 4.0], [-1.0, -2.0], [0.0, 0.0]])
def test_slerp_of_nearly_parallel_tensors_is_the_line(other: list[float]) -> None:
    one = {"w": torch.tensor([1.0, 2.0])}
    found = slerp(one, {"w": torch.tensor(other)}, 0.25)["w"]
    assert found.tolist() == pytest.approx([0.75 * 1 + 0.25 * other[0], 0.75 * 2 + 0.25 * other[1]], abs=1e-6)


def test_each_member_of_a_slerp_weighs_the_same() -> None:
    """Between nearly parallel tensors, where it is an average."""
    values = [torch.tensor([1.0, 1.0]), torch.tensor([1.01, 1.0]), torch.tensor([1.0, 1.02])]
    soup = cook([Ingredient(f"i{n}", {"w": v}) for n, v in enumerate(values)], lambda _: 1.0, "slerp")
    assert soup.members == ("i0", "i1", "i2")
    assert soup.state["w"].tolist() == pytest.approx(torch.stack(values).mean(0).tolist(), abs=1e-6)

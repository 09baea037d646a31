"""Model soup: weights of one lineage averaged, along a run or over runs, never worse than the best ingredient.

Sources: Wortsman et al. 2022, arXiv 2203.05482 (uniform soup; algorithm 1, greedy soup); Shoemake 1985 for the arc
between two points of a sphere, taken for weights tensor by tensor as in mergekit (arXiv 2403.13257).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.errors import ConfigError

PARALLEL = 0.9995  # cosine from which the arc is taken for a line, as in mergekit

State = Mapping[str, Tensor]
Score = Callable[[State], float]


@dataclass(frozen=True)
class Ingredient:
    """A named set of weights, and where it is from; all ingredients of a soup hold the same names and shapes."""

    name: str
    state: State
    origin: str = ""


@dataclass(frozen=True)
class Soup:
    """The weights chosen, what went in, and the score of every candidate that was tried."""

    state: State
    members: tuple[str, ...]
    score: float
    tried: dict[str, float]


def average(states: Sequence[State]) -> dict[str, Tensor]:
    """Uniform average, accumulated in float64.

    Raises:
        ConfigError: no state, or states that differ in names or shapes.
    """
    if not states:
        raise ConfigError("a soup needs at least one ingredient")
    _check(states)
    return {n: torch.stack([s[n].double() for s in states]).mean(0).to(states[0][n].dtype) for n in sorted(states[0])}


def slerp(one: State, other: State, share: float) -> dict[str, Tensor]:
    """Go the part ``share`` of the way from ``one`` to ``other``, each tensor along its arc, in float64.

    The angle is that between the whole tensors; where they are nearly parallel (or one is zero) the arc is a line.

    Raises:
        ConfigError: the states differ in names or shapes.
    """
    _check((one, other))
    return {n: _arc(one[n].double(), other[n].double(), share).to(one[n].dtype) for n in sorted(one)}


def _arc(one: Tensor, other: Tensor, share: float) -> Tensor:
    norms = one.norm() * other.norm()
    cosine = float((one * other).sum() / norms) if norms > 0 else 1.0
    if abs(cosine) > PARALLEL:
        return one.lerp(other, share)
    angle = math.acos(cosine)
    return (one * math.sin((1 - share) * angle) + other * math.sin(share * angle)) / math.sin(angle)


def _check(states: Sequence[State]) -> None:
    names = set(states[0])
    for state in states[1:]:
        if odd := sorted(names ^ set(state)) or sorted(n for n in names if state[n].shape != states[0][n].shape):
            raise ConfigError(
                f"soup ingredients differ in parameter names or shapes, such as {odd[0]}: take checkpoints of "
                "one lineage"
            )


def cook(ingredients: Sequence[Ingredient], score: Score, method: str) -> Soup:
    """Average ingredients by ``method`` and keep the result only if it scores at least the best single one.

    Args:
        ingredients: candidates.
        score: higher is better, measured on the validation split.
        method: ``uniform`` averages all; ``greedy`` adds them best first while the score does not fall; ``slerp`` goes
            towards each in the same order, along the arc.

    Raises:
        ConfigError: two ingredients have one name, or they are not of one lineage.
    """
    names = [i.name for i in ingredients]
    if len(set(names)) != len(names):
        raise ConfigError(f"each ingredient of a soup needs a name of its own, got {names}")
    _check([i.state for i in ingredients])
    tried = {i.name: score(i.state) for i in ingredients}
    ranked = sorted(ingredients, key=lambda i: -tried[i.name])
    best = Soup(ranked[0].state, (ranked[0].name,), tried[ranked[0].name], tried)
    steps = _uniform(ingredients, score) if method == "uniform" else _greedy(best, ranked, score, ADD[method])
    for candidate in steps:
        tried["+".join(candidate.members)] = candidate.score
        if candidate.score >= best.score:
            best = candidate
    return Soup(best.state, best.members, best.score, tried)


def _uniform(ingredients: Sequence[Ingredient], score: Score) -> list[Soup]:
    if len(ingredients) < 2:
        return []
    state = average([i.state for i in ingredients])
    return [Soup(state, tuple(i.name for i in ingredients), score(state), {})]


def _greedy(best: Soup, ranked: Sequence[Ingredient], score: Score, add: "Add") -> list[Soup]:
    """Every soup that was tried; a member stays in only when it did not lower the score."""
    kept, current, found = [ranked[0]], best, []
    for ingredient in ranked[1:]:
        state = add(current.state, [i.state for i in kept], ingredient.state)
        soup = Soup(state, tuple(i.name for i in [*kept, ingredient]), score(state), {})
        found.append(soup)
        if soup.score >= current.score:
            kept.append(ingredient)
            current = soup
    return found


# From the soup so far, its members, and one more member to the next soup; each member weighs the same.
Add = Callable[[State, Sequence[State], State], dict[str, Tensor]]
ADD: Mapping[str, Add] = {
    "greedy": lambda soup, members, new: average([*members, new]),
    "slerp": lambda soup, members, new: slerp(soup, new, 1 / (len(members) + 1)),
}

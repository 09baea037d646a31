"""Model soup: average weights of checkpoints of one lineage, gated so that it is never worse than its best ingredient.

Source: Wortsman et al. 2022, arXiv 2203.05482 (uniform soup; algorithm 1, greedy soup).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.errors import ConfigError

State = Mapping[str, Tensor]
Score = Callable[[State], float]


@dataclass(frozen=True)
class Ingredient:
    """A named set of weights; all ingredients of a soup hold the same names and shapes."""

    name: str
    state: State


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
    names = set(states[0])
    if any(set(s) != names or any(s[n].shape != states[0][n].shape for n in names) for s in states):
        raise ConfigError("soup ingredients differ in parameter names or shapes: take checkpoints of one lineage")
    return {n: torch.stack([s[n].double() for s in states]).mean(0).to(states[0][n].dtype) for n in sorted(names)}


def cook(ingredients: Sequence[Ingredient], score: Score, method: str) -> Soup:
    """Average ingredients by ``method`` and keep the result only if it scores at least the best single one.

    Args:
        ingredients: candidates.
        score: higher is better, measured on the validation split.
        method: ``uniform`` averages all; ``greedy`` adds them best first while the score does not fall.
    """
    tried = {i.name: score(i.state) for i in ingredients}
    ranked = sorted(ingredients, key=lambda i: -tried[i.name])
    best = Soup(ranked[0].state, (ranked[0].name,), tried[ranked[0].name], tried)
    steps = _greedy(best, ranked, score) if method == "greedy" else _uniform(ingredients, score)
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


def _greedy(best: Soup, ranked: Sequence[Ingredient], score: Score) -> list[Soup]:
    """Every soup that was tried; a member stays in only when it did not lower the score."""
    kept, current, found = [ranked[0]], best.score, []
    for ingredient in ranked[1:]:
        state = average([i.state for i in [*kept, ingredient]])
        value = score(state)
        found.append(Soup(state, tuple(i.name for i in [*kept, ingredient]), value, {}))
        if value >= current:
            kept.append(ingredient)
            current = value
    return found

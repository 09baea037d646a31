"""The loss against a float64 reference written with loops, its gradients, and its masks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import ConfigError
from model.losses.contrastive import contrastive_loss, same_group_mask


def unit(rows: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=-1)


def oracle(query, document, temperature, dimensions, ignored) -> float:
    """Plain loops: for each prefix and direction, minus the log of the positive's share."""
    count, total, terms = len(query), 0.0, 0
    for d in dimensions:
        q = [row[:d] / row[:d].norm() for row in query]
        k = [row[:d] / row[:d].norm() for row in document]
        weight = [[math.exp(float(a @ b) / temperature) for b in k] for a in q]
        allowed = [[i == j or not ignored[i][j] for j in range(len(k))] for i in range(count)]
        for i in range(count):
            rows = sum(w for w, ok in zip(weight[i], allowed[i], strict=True) if ok)
            columns = sum(weight[j][i] for j in range(count) if allowed[j][i])
            total -= (math.log(weight[i][i] / rows) + math.log(weight[i][i] / columns)) / 2
            terms += 1
    return total / terms


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(0, 5), st.sampled_from([0.02, 0.1, 1.0]), st.integers(0, 1000))
def test_equals_the_oracle(count: int, extra: int, temperature: float, seed: int) -> None:
    query, document = unit(count, 8, seed), unit(count + extra, 8, seed + 1)
    ignored = torch.rand(count, count + extra, generator=torch.Generator().manual_seed(seed)) < 0.3
    parts = contrastive_loss(query, document, temperature=temperature, dimensions=(8, 3), ignored_NM=ignored)
    assert float(parts["loss"]) == pytest.approx(oracle(query, document, temperature, (8, 3), ignored), rel=1e-9)


def test_gradients_pass_gradcheck() -> None:
    query, document = unit(3, 6, 0).requires_grad_(), unit(5, 6, 1).requires_grad_()
    ignored = torch.zeros(3, 5, dtype=torch.bool)
    ignored[0, 4] = ignored[1, 2] = True

    def loss(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return contrastive_loss(q, k, temperature=0.1, dimensions=(6, 2), ignored_NM=ignored)["loss"]

    assert torch.autograd.gradcheck(loss, (query, document))


def test_an_ignored_document_gets_no_gradient_and_others_do() -> None:
    query, document = unit(2, 4, 0), unit(3, 4, 1).requires_grad_()
    ignored = torch.tensor([[False, False, True], [False, False, True]])
    contrastive_loss(query, document, temperature=0.1, dimensions=(4,), ignored_NM=ignored)["loss"].backward()
    assert document.grad is not None
    assert document.grad[2].abs().max() == 0 < document.grad[1].abs().max()


def test_a_hard_negative_stays_negative_of_its_query_only() -> None:
    mask = same_group_mask([0, 1], [0, 1, 0], [-1, -1, 0])
    assert mask.tolist() == [[True, False, False], [False, True, False]]
    assert same_group_mask([0, 0], [0, 0, 0], [-1, -1, 0])[1].tolist() == [True, True, True]


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1.5])
def test_impossible_temperatures_are_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        contrastive_loss(unit(2, 4, 0), unit(2, 4, 1), temperature=temperature, dimensions=(4,))


def test_fewer_documents_than_queries_are_refused() -> None:
    with pytest.raises(ConfigError, match="documents >= queries"):
        contrastive_loss(unit(3, 4, 0), unit(2, 4, 1), temperature=0.1, dimensions=(4,))

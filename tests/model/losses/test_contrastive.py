"""The tiled loss equals the dense oracle, loss and gradients, in every combination of its options."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.errors import ConfigError
from model.losses.config import FalseNegatives, Hardness, LossConfig
from model.losses.contrastive import contrastive_loss
from model.losses.pairing import Pairing
from tests.model.losses.oracle import oracle
from tests.model.losses.samples import configs, embeddings, pairing_of

EVERY_TERM = ("query_to_document", "document_to_query", "query_to_query", "document_to_document")


def both(query, document, pairing, config, temperature, dimensions, tile):
    """(loss, gradients) of the loss and of the oracle."""
    found = []
    for kind in ("tiled", "oracle"):
        leaves = [x.clone().requires_grad_() for x in (query, document, torch.tensor(temperature, dtype=query.dtype))]
        if kind == "tiled":
            options = {"temperature": leaves[2], "dimensions": dimensions, "tile": tile}
            loss = contrastive_loss(leaves[0], leaves[1], pairing, config, **options)["loss"]
        else:
            loss = oracle(leaves[0], leaves[1], pairing, config, leaves[2], dimensions)
        found.append((loss.detach(), torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)))
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    config=configs(),
    queries=st.integers(1, 5),
    extra=st.integers(0, 3),
    hard=st.integers(0, 4),
    temperature=st.sampled_from([0.005, 0.03, 0.2, 1.0]),
    dimensions=st.sampled_from([(6,), (6, 2), (5, 3, 2), (4,)]),
    tile=st.integers(1, 6),
    seed=st.integers(0, 10_000),
)
def test_loss_and_gradients_equal_the_oracle(config, queries, extra, hard, temperature, dimensions, tile, seed) -> None:
    pairing = pairing_of(queries, extra, hard, seed)
    query, document = embeddings(queries, len(pairing.owner_M), 6, seed)
    (loss, grads), (expected, wanted) = both(query, document, pairing, config, temperature, dimensions, tile)
    assert torch.allclose(loss, expected, rtol=1e-9, atol=1e-11)
    for name, grad, want in zip(("query", "document", "temperature"), grads, wanted, strict=True):
        assert torch.allclose(grad, want, rtol=1e-7, atol=1e-9 * float(want.abs().max() + 1)), name


@pytest.mark.parametrize("partition", ["separate", "joint"])
def test_every_option_at_once(partition: str) -> None:
    config = LossConfig(
        terms=EVERY_TERM,
        partition=partition,
        false_negatives=FalseNegatives(labels="group", margin=0.1, ratio=0.95),
        hardness=Hardness(on="all", strength=5),
    )
    pairing = pairing_of(12, 5, 9, 3, kinds=8)
    query, document = embeddings(12, 26, 16, 3)
    (loss, grads), (expected, wanted) = both(query, document, pairing, config, 0.05, (16, 8, 4), 5)
    assert float(loss) == pytest.approx(float(expected), rel=1e-10)
    assert all(torch.allclose(g, w, rtol=1e-8, atol=1e-10) for g, w in zip(grads, wanted, strict=True))
    assert all(g.abs().max() > 1e-3 for g in grads), "the gradients that agree must not be zero"


@pytest.mark.parametrize(
    "change",
    [
        {"terms": ("query_to_document", "query_to_query")},
        {"terms": ("query_to_document", "document_to_document")},
        {"terms": ("query_to_document",)},
        {"partition": "joint"},
        {"negatives": "own", "terms": ("query_to_document",)},
        {"hardness": Hardness(on="in_batch", strength=9)},
        {"hardness": Hardness(on="hard", strength=5)},
        *(
            {"false_negatives": FalseNegatives(**{name: False})}
            for name in ("same_positive", "same_query", "same_group")
        ),
        {"false_negatives": FalseNegatives(labels="group")},
        {"false_negatives": FalseNegatives(margin=0.1)},
        {"false_negatives": FalseNegatives(ratio=0.95)},
    ],
    ids=str,
)
def test_every_option_matters(change: dict) -> None:
    """Otherwise the agreement with the oracle would say nothing about it."""
    pairing = pairing_of(24, 6, 12, 5, kinds=1)
    query, document = embeddings(24, 42, 8, 5)

    def loss(config: LossConfig) -> float:
        return float(contrastive_loss(query, document, pairing, config, temperature=0.1, dimensions=(8,))["loss"])

    assert abs(loss(LossConfig(**change)) - loss(LossConfig())) > 1e-4


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("temperature", [0.01, 0.02, 0.07])
def test_single_and_half_precision(dtype: torch.dtype, tolerance: float, temperature: float) -> None:
    pairing = pairing_of(40, 5, 20, 11)
    query, document = (x.to(dtype).double() for x in embeddings(40, 65, 32, 11))
    config = LossConfig(terms=EVERY_TERM, partition="joint")
    (_, _), (expected, wanted) = both(query, document, pairing, config, temperature, (32, 16), 16)
    leaves = [x.to(dtype).requires_grad_() for x in (query, document)]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = contrastive_loss(*leaves, pairing, config, temperature=temperature, dimensions=(32, 16), tile=16)["loss"]
    loss.backward()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    for leaf, want in zip(leaves, wanted, strict=False):
        assert (leaf.grad.double() - want).norm() <= tolerance * want.norm()


def test_the_tile_does_not_change_the_result_beyond_rounding() -> None:
    pairing = Pairing.in_order(64, 96)
    query, document = embeddings(64, 96, 16, 1)
    losses = [
        float(contrastive_loss(query, document, pairing, temperature=0.05, dimensions=(16,), tile=t)["loss"])
        for t in (1, 7, 64, 1000)
    ]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-12)


def test_a_query_without_negatives_costs_nothing() -> None:
    query, document = (x.requires_grad_() for x in embeddings(1, 1, 4, 0))
    parts = contrastive_loss(query, document, Pairing.in_order(1), temperature=0.05, dimensions=(4,))
    parts["loss"].backward()
    assert float(parts["loss"]) == 0
    assert float(parts["in_batch_accuracy"]) == 1
    assert query.grad.abs().max() == document.grad.abs().max() == 0


def test_in_batch_accuracy_is_the_share_of_queries_that_find_their_document() -> None:
    eye = torch.eye(4)
    document = eye[[0, 1, 3, 2]]
    parts = contrastive_loss(eye, document, Pairing.in_order(4), temperature=0.1, dimensions=(4,))
    assert float(parts["in_batch_accuracy"]) == 0.5


def test_parts_are_named_and_their_mean_is_the_loss() -> None:
    query, document = embeddings(4, 4, 4, 0)
    options = {"temperature": 0.1, "dimensions": (4,)}
    parts = contrastive_loss(query, document, Pairing.in_order(4), LossConfig(terms=EVERY_TERM), **options)
    assert set(parts) == {"loss", "in_batch_accuracy", *EVERY_TERM}
    assert float(parts["loss"]) == pytest.approx(sum(float(parts[t]) for t in EVERY_TERM) / 4)
    joint = contrastive_loss(query, document, Pairing.in_order(4), LossConfig(partition="joint"), **options)
    assert math.isclose(float(joint["loss"]), float(joint["joint"]))


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1.5, 0.001])
def test_impossible_temperatures_are_refused(temperature: float) -> None:
    query, document = embeddings(2, 2, 4, 0)
    with pytest.raises(ConfigError, match="temperature"):
        contrastive_loss(query, document, Pairing.in_order(2), temperature=temperature, dimensions=(4,))


@pytest.mark.parametrize(
    ("pairing", "dimensions", "message"),
    [
        (Pairing.in_order(3), (4,), "shape"),
        (Pairing.of(torch.tensor([0, 0]), torch.tensor([True, True]), 2), (4,), "no positive"),
        (Pairing.of(torch.tensor([0, 2]), torch.tensor([True, True]), 2), (4,), "0..1"),
        (Pairing.in_order(2), (), "prefix"),
        (Pairing.in_order(2), (8,), "prefix"),
    ],
)
def test_what_does_not_fit_is_refused(pairing: Pairing, dimensions: tuple[int, ...], message: str) -> None:
    query, document = embeddings(2, 2, 4, 0)
    with pytest.raises(ConfigError, match=message):
        contrastive_loss(query, document, pairing, temperature=0.1, dimensions=dimensions)


@pytest.mark.parametrize(
    "value",
    [
        {"terms": ["document_to_query"]},
        {"terms": ["query_to_document", "query_to_document"]},
        {"negatives": "own"},
        {"hardness": {"strength": 0}},
        {"false_negatives": {"ratio": 1.5}},
    ],
)
def test_contradictory_configurations_are_refused(value: dict) -> None:
    with pytest.raises(ConfigError):
        LossConfig.parse(value)

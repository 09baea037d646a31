"""Gradients made piece by piece are those of one big forward pass; dropout and autocast included."""

import pytest
import torch
from torch import nn

from model.errors import ConfigError
from model.losses.cache import Piece, RandomState, backward_in_pieces
from model.losses.config import LossConfig
from model.losses.contrastive import contrastive_loss
from model.losses.pairing import Pairing

CPU = torch.device("cpu")
PAIRING = Pairing.in_order(6, 9)


def network(dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 8)).to(dtype)


def inputs(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(6, 5, generator=rng, dtype=dtype), torch.randn(9, 5, generator=rng, dtype=dtype)


def loss_of(query: torch.Tensor, document: torch.Tensor) -> dict[str, torch.Tensor]:
    return contrastive_loss(query, document, PAIRING, LossConfig(), temperature=0.1, dimensions=(8, 4))


def pieces(model: nn.Module, rows: torch.Tensor, plan: list[list[int]]) -> list[Piece]:
    return [Piece(torch.tensor(p), lambda p=p: model(rows[p]), len(p)) for p in plan]


PLANS = ([[4, 0, 5], [1, 2], [3]], [[8, 1], [0, 2, 3, 4], [7, 6, 5]])


def gradients(model: nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("keep", [0, 3, 7, 100])
def test_cached_equals_plain(keep: int) -> None:
    model, (query, document) = network(), inputs()
    plain = loss_of(model(query), model(document))["loss"]
    plain.backward()
    expected = gradients(model)
    model.zero_grad()
    sides = [pieces(model, x, p) for x, p in zip(inputs(), PLANS, strict=True)]
    parts = backward_in_pieces(sides, loss_of, CPU, keep=keep)
    assert float(parts["loss"]) == pytest.approx(plain.item(), rel=1e-12)
    for found, want in zip(gradients(model), expected, strict=True):
        assert want.abs().max() > 1e-3
        assert torch.allclose(found, want, rtol=1e-9, atol=1e-12)


def dropout_reference(model: nn.Module) -> list[torch.Tensor]:
    """The same pieces in the same order with the graph of all of them kept."""
    sides = []
    for rows, plan in zip(inputs(), PLANS, strict=True):
        order = torch.tensor([i for piece in plan for i in piece]).argsort()
        sides.append(torch.cat([model(rows[piece]) for piece in plan])[order])
    loss_of(*sides)["loss"].backward()
    return gradients(model)


@pytest.mark.parametrize(("keep", "calls"), [(0, 12), (2, 11), (4, 11), (7, 10), (15, 6)])
def test_pieces_are_embedded_once_where_there_is_room(keep: int, calls: int) -> None:
    """The most expensive go first: of 3, 2, 1, 2, 4 and 3 rows, four rows of room hold the piece of four."""
    model, seen = network(), []
    model.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    sides = [pieces(model, x, p) for x, p in zip(inputs(), PLANS, strict=True)]
    backward_in_pieces(sides, loss_of, CPU, keep=keep)
    assert len(seen) == calls
    assert sum(seen) == 6


def test_never_more_activations_than_the_room_holds() -> None:
    """Those that were kept are gone before the first of the others is embedded again."""
    alive: list[int] = []
    held = [0]

    class Count(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: torch.Tensor) -> torch.Tensor:
            if torch.is_grad_enabled() or x.requires_grad:
                ctx.rows = len(x)
            return x.clone()

        @staticmethod
        def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
            held[0] -= ctx.rows
            return grad

    model = network()

    def embed(rows: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            held[0] += len(rows)
            alive.append(held[0])
        return Count.apply(model(rows))

    sides = [[Piece(torch.tensor(p), lambda p=p, x=x: embed(x[p]), len(p)) for p in plan]
             for x, plan in zip(inputs(), PLANS, strict=True)]  # fmt: skip
    backward_in_pieces(sides, loss_of, CPU, keep=5)
    assert max(alive) == 5
    assert held[0] == 0
    backward_in_pieces(sides, loss_of, CPU, keep=100)
    assert max(alive) == 15, "this test can see more"


@pytest.mark.parametrize("keep", [0, 5, 100])
def test_dropout_is_the_same_in_both_passes(monkeypatch: pytest.MonkeyPatch, keep: int) -> None:
    model = network(dropout=0.5)
    torch.manual_seed(3)
    expected = dropout_reference(model)
    state = torch.get_rng_state()
    model.zero_grad()
    torch.manual_seed(3)
    sides = [pieces(model, x, p) for x, p in zip(inputs(), PLANS, strict=True)]
    backward_in_pieces(sides, loss_of, CPU, keep=keep)
    assert all(torch.allclose(f, w, rtol=1e-9, atol=1e-12) for f, w in zip(gradients(model), expected, strict=True))
    assert torch.equal(torch.get_rng_state(), state), "what comes after draws what it would have drawn"

    monkeypatch.setattr(RandomState, "restore", lambda self: None)
    model.zero_grad()
    torch.manual_seed(3)
    backward_in_pieces(sides, loss_of, CPU)
    assert not all(torch.allclose(f, w, rtol=1e-2) for f, w in zip(gradients(model), expected, strict=True))


@pytest.mark.parametrize("keep", [0, 4])
def test_weights_learn_under_autocast(keep: int) -> None:
    """Casts of weights that autocast caches in the pass without a graph must not be used in the one with a graph."""
    model = network(dtype=torch.float32)
    query, document = inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        plain = loss_of(model(query), model(document))["loss"]
    plain.backward()
    expected = gradients(model)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        sides = [pieces(model, x, p) for x, p in zip((query, document), PLANS, strict=True)]
        backward_in_pieces(sides, loss_of, CPU, keep=keep)
    for found, want in zip(gradients(model), expected, strict=True):
        assert want.norm() > 1e-2
        assert (found - want).norm() <= 0.03 * want.norm()


def test_parameters_of_the_loss_get_gradients_too() -> None:
    model, logarithm = network(), torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)

    def loss(query: torch.Tensor, document: torch.Tensor) -> dict[str, torch.Tensor]:
        return contrastive_loss(query, document, PAIRING, temperature=logarithm.exp(), dimensions=(8,))

    query, document = inputs()
    loss(model(query), model(document))["loss"].backward()
    expected, logarithm.grad = logarithm.grad, None
    backward_in_pieces([pieces(model, x, p) for x, p in zip(inputs(), PLANS, strict=True)], loss, CPU)
    assert logarithm.grad.item() == pytest.approx(expected.item(), rel=1e-10)
    assert expected.abs() > 1e-3


@pytest.mark.parametrize("plan", [[[0, 1], [1, 2]], [[0, 2]], []])
def test_pieces_that_do_not_cover_the_side_are_refused(plan: list[list[int]]) -> None:
    with pytest.raises(ConfigError, match="each of its rows once"):
        backward_in_pieces([pieces(network(), inputs()[0], plan)], loss_of, CPU)

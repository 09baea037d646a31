"""The figures that are reported, against their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import normalize
from torch.utils.flop_counter import FlopCounterMode

from model.content import Content
from model.training.batch import Pooled
from model.training.figures import embedding_figures, gradient_norms
from model.training.flops import TrunkFlops, peak_of
from model.training.history import History
from model.training.meter import tokens_of
from model.training.report import Window, describe


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(0, 20), st.integers(0, 1000))
def test_alignment_and_uniformity_are_those_of_the_paper(count: int, extra: int, seed: int) -> None:
    torch.manual_seed(seed)
    query_ND, document_MD = normalize(torch.randn(count, 8)), normalize(torch.randn(count + extra, 8))
    found = embedding_figures(query_ND, document_MD)
    assert found["alignment"] == pytest.approx(
        float((query_ND - document_MD[:count]).norm(dim=1).pow(2).mean()), rel=1e-4
    )
    paper = torch.pdist(query_ND).pow(2).mul(-2).exp().mean().log()
    assert found["uniformity_query"] == pytest.approx(float(paper), rel=1e-3, abs=1e-5)
    nearest = [(document_MD @ q).argmax().item() == i for i, q in enumerate(query_ND)]
    assert found["in_batch_accuracy"] == pytest.approx(np.mean(nearest))


def test_figures_of_the_extremes() -> None:
    one_point = normalize(torch.ones(4, 8))
    found = embedding_figures(one_point, one_point)
    assert float(found["alignment"]) == pytest.approx(0, abs=1e-6)
    assert float(found["uniformity_query"]) == pytest.approx(0, abs=1e-5)
    eye = torch.eye(300)
    found = embedding_figures(eye, eye)
    assert float(found["in_batch_accuracy"]) == 1.0
    assert float(found["uniformity_document"]) == pytest.approx(-4, abs=1e-4)


def test_gradient_norms_by_group() -> None:
    one, two, none = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    one.grad, two.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert {k: float(v) for k, v in gradient_norms({"a": [one, two], "b": [none]}).items()} == {"a": 5.0}


def test_a_window_averages_by_name_and_leaves_out_what_is_not_finite() -> None:
    window = Window()
    window.add({"a": torch.tensor(1.0), "b": torch.tensor(math.nan)})
    window.add({"a": torch.tensor(3.0)})
    assert window.read() == {"a": 2.0}
    assert window.read() == {}


def test_a_line_names_only_what_is_known() -> None:
    assert describe({}) == []
    line = describe({"loss": 1.0, "a/in_batch_accuracy": 0.25, "b/in_batch_accuracy": 0.75, "memory/process_gb": 2.0})
    assert line == ["loss 1.000", "in-batch accuracy 0.50", "2.0 GB"]


def test_history_keeps_the_later_of_two_and_survives_a_cut_line(tmp_path) -> None:
    history = History(tmp_path)
    assert history.rows() == []
    for step, loss in ((1, 4.0), (2, 3.0), (2, 2.0), (3, 1.0)):
        history.add({"loss": loss}, step)
    with history.path.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [(r["step"], r["loss"]) for r in history.rows()] == [(1, 4.0), (2, 2.0), (3, 1.0)]


def test_operations_of_the_trunk_are_those_that_torch_counts(tiny_encoder) -> None:
    """Forward and backward through every layer, on sequences of equal length so that there is no padding."""
    batch = tiny_encoder.preprocess([Content.of("one two three"), Content.of("one two three")])
    assert batch.mask_NL.all()
    every = {n for n, p in tiny_encoder.named_parameters() if p.is_floating_point()}
    tiny_encoder.trunk.requires_grad_(True).train()
    tiny_encoder.trunk.config._attn_implementation = "eager"  # the fused kernel counts its recomputation
    embeds_NLH = torch.randn(*batch.token_ids_NL.shape, tiny_encoder.trunk.config.hidden_size, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        tiny_encoder.pool_embeds(embeds_NLH, torch.from_numpy(batch.mask_NL)).sum().backward()
    assert TrunkFlops(tiny_encoder, every)(batch) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_operations_follow_what_learns(tiny_encoder, png_bytes) -> None:
    from model.content import image

    batch = tiny_encoder.preprocess([Content.of("one two three")])
    names = [n for n, _ in tiny_encoder.trunk.named_parameters()]
    all_of_it = TrunkFlops(tiny_encoder, {f"trunk.{n}" for n in names} | {"projectors.image.x"})(batch)
    below = TrunkFlops(tiny_encoder, {"projectors.image.x"})(batch)
    last = TrunkFlops(tiny_encoder, {f"trunk.{n}" for n in names if "layer.1." in n})(batch)
    nothing = TrunkFlops(tiny_encoder, {"head.weight"})(batch)
    assert all_of_it > below > nothing
    assert all_of_it > last > nothing
    assert TrunkFlops(tiny_encoder, set())(Pooled(np.zeros((2, 4), np.float32))) == 0
    towers = tiny_encoder.preprocess([Content.of(image(png_bytes))])
    assert TrunkFlops(tiny_encoder, set())(towers) is None, "towers run: the arithmetic is not known, so none is told"
    assert tokens_of(towers) == towers.mask_NL.sum()


def test_no_peak_is_made_up() -> None:
    assert peak_of(torch.device("cpu"), "32-true") is None

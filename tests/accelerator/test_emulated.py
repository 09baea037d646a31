"""The pretended device refuses what CUDA refuses, keeps what CUDA keeps apart, and counts what lies on it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, linear

from benchmarks.emulated import OnDevice, accelerator


def test_devices_do_not_mix() -> None:
    with accelerator():
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        for mixed in (lambda: there + here, lambda: there @ here, lambda: there[torch.tensor([0])]):
            with pytest.raises(RuntimeError, match="two devices"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert (there + torch.tensor(1.0)).cpu().tolist() == [2.0, 2.0, 2.0]  # a scalar may be of the processor
        assert there.device == torch.device("cuda", 0)
        assert there.is_cuda


def test_what_waits_is_noted_with_its_line() -> None:
    with accelerator() as device:
        there = torch.ones(3, device="cuda", requires_grad=True)
        (there * 2).sum().backward()
        assert not device.waits
        bool(there.sum() > 0)
        there[there > 0].tolist()
        assert len(device.waits) == 3
        assert all("test_emulated.py" in wait for wait in device.waits)


def test_its_random_numbers_are_of_a_generator_of_its_own() -> None:
    with accelerator():
        torch.manual_seed(3)
        before, there = torch.get_rng_state(), torch.cuda.get_rng_state()
        first = dropout(torch.ones(50, device="cuda"))
        assert torch.equal(torch.get_rng_state(), before)
        assert not torch.equal(torch.cuda.get_rng_state(), there)
        torch.cuda.set_rng_state(there)
        assert torch.equal(dropout(torch.ones(50, device="cuda")).cpu(), first.cpu())


def test_a_parameter_that_moves_stays_the_same_object() -> None:
    layer = nn.Linear(3, 2)
    weight, value = layer.weight, layer.weight.detach().clone()
    with accelerator():
        layer.to("cuda")
        assert layer.weight is weight
        assert isinstance(weight, OnDevice)
        layer.cpu()
    assert torch.equal(layer.weight, value)
    assert type(layer.weight) is nn.Parameter


@pytest.mark.parametrize(("kind", "dtype"), [("cuda", torch.bfloat16), ("cpu", torch.float32)])
def test_mixed_precision_is_that_of_the_device_that_is_named(kind: str, dtype: torch.dtype) -> None:
    with accelerator():
        x = torch.ones(2, 3, device="cuda")
        with torch.autocast(kind, torch.bfloat16):
            assert linear(x, torch.ones(4, 3, device="cuda")).dtype == dtype


def dense(rows: Tensor) -> None:
    logits = rows @ rows.T
    cross_entropy(logits, torch.arange(len(rows), device=rows.device)).backward()


@pytest.mark.parametrize("shapes_from", [None, 1000])
def test_it_counts_what_lies_there(shapes_from: int | None) -> None:
    """Of 300 x 64 numbers and a dense loss: logits, their log-softmax and the gradients of both."""
    matrix, rows = 4 * 300 * 300, 4 * 300 * 64
    with accelerator(shapes_from=shapes_from) as device:
        leaf = torch.randn(300, 64, device="cuda", requires_grad=True)
        before = device.restart()
        assert before == rows
        dense(leaf)
        assert 4 * matrix <= device.peak - before <= 4 * matrix + 2 * rows
        assert device.bytes_now == 2 * rows  # the gradient
        del leaf
        assert device.bytes_now == 0


def test_shapes_alone_count_the_same() -> None:
    peaks = []
    for shapes_from in (None, 1000):
        with accelerator(shapes_from=shapes_from) as device:
            dense(torch.randn(300, 64, device="cuda", requires_grad=True))
            peaks.append(device.peak)
    assert peaks[0] == peaks[1]

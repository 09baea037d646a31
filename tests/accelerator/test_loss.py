"""The losses on a pretended CUDA device: same numbers, nothing left on the processor, no waiting for tiles."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.emulated import OnDevice, accelerator
from model.losses.config import DistillConfig, FalseNegatives, Hardness, LossConfig
from model.losses.contrastive import contrastive_loss
from model.losses.distill import distill_loss
from model.losses.pairing import Pairing
from model.losses.tiles import Listed
from tests.model.losses.samples import configs, embeddings, pairing_of

TERMS = ("query_to_document", "document_to_query", "query_to_query", "document_to_document")
CONFIGS = {
    "plain": LossConfig(),
    "own": LossConfig(terms=TERMS[:1], negatives="own", hardness=Hardness(on="hard", strength=5)),
    "every option": LossConfig(
        terms=TERMS,
        partition="joint",
        false_negatives=FalseNegatives(labels="group", margin=0.1, ratio=0.9),
        hardness=Hardness(on="all", strength=9),
    ),
}


def contrastive(
    config: LossConfig, *, on: str, temperature: float = 0.05, tile: int | None = 8, seed: int = 0
) -> list[Tensor]:
    """Loss, its parts, and gradients by queries, documents and temperature, on a device that has to be there."""
    pairing = pairing_of(7, 3, 4, seed)
    rows = [x.float() for x in embeddings(7, len(pairing.owner_M), 8, seed)]
    leaves = [x.to(on).requires_grad_() for x in (*rows, torch.tensor(temperature))]
    found = contrastive_loss(*leaves[:2], pairing, config, temperature=leaves[2], dimensions=(8, 3), tile=tile)
    gradients = torch.autograd.grad(found["loss"], leaves, allow_unused=True, materialize_grads=True)
    return [*(value.detach() for value in found.values()), *gradients]


def check(expected: list[Tensor], found: list[Tensor]) -> None:
    for want, value in zip(expected, found, strict=True):
        assert isinstance(value, OnDevice)
        assert torch.equal(value.cpu(), want)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_contrastive_loss_is_that_of_the_processor(name: str) -> None:
    with accelerator():
        found = contrastive(CONFIGS[name], on="cuda")
        check(contrastive(CONFIGS[name], on="cpu"), found)


@pytest.mark.minutes
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configs(), st.sampled_from([0.005, 0.05, 1.0]), st.integers(1, 9), st.integers(0, 999))
def test_so_it_is_with_any_options(config: LossConfig, temperature: float, tile: int, seed: int) -> None:
    options = {"temperature": temperature, "tile": tile, "seed": seed}
    with accelerator():
        check(contrastive(config, on="cpu", **options), contrastive(config, on="cuda", **options))


def distilled(on: str) -> list[Tensor]:
    student, teacher = embeddings(6, 9, 8, 1), embeddings(6, 9, 8, 2)
    leaves = [x.float().to(on).requires_grad_() for x in student]
    there = [x.float().to(on) for x in teacher]
    config = DistillConfig(relation=0.7, geometry=1.3)
    options = {"dimensions": (8, 3), "teacher_dimensions": (8, 3), "elements": 20}
    found = distill_loss(tuple(leaves), tuple(there), config, **options)
    return [*(value.detach() for value in found.values()), *torch.autograd.grad(found["loss"], leaves)]


def test_the_distillation_loss_is_that_of_the_processor() -> None:
    with accelerator() as device:
        check(distilled("cpu"), distilled("cuda"))
        assert not [wait for wait in device.waits if "distill" in wait]


def test_no_tile_waits_for_the_device() -> None:
    with accelerator() as device:
        counts = []
        for tile in (16, 8):
            device.restart()
            contrastive(CONFIGS["every option"], on="cuda", tile=tile)
            counts.append(len(device.waits))
    assert counts[0] == counts[1]


def on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Listed.by_tile
    monkeypatch.setattr(Listed, "by_tile", lambda self, tile, _: real(self, tile, torch.device("cpu")))


def asks_each_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    from model.losses import sums

    real = sums._tile_gradient
    monkeypatch.setattr(sums, "_tile_gradient", lambda *args: real(*args) * float(args[3].sum() * 0 + 1))


def test_an_index_left_on_the_processor_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_processor(monkeypatch)
    with pytest.raises(RuntimeError, match="two devices, cuda:0 and cpu"):
        test_the_contrastive_loss_is_that_of_the_processor("plain")


def test_ids_left_on_the_processor_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Pairing.query_ids
    monkeypatch.setattr(
        "model.losses.masks.Pairing.query_ids",
        lambda self, keys: _Stuck(real(self, keys)),  # its ``to`` does nothing
    )
    with pytest.raises(RuntimeError, match="two devices"):
        test_the_contrastive_loss_is_that_of_the_processor("every option")


class _Stuck:
    """A tensor that stays where it is."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def to(self, _: object) -> Tensor:
        return self.tensor


def test_a_value_read_in_each_tile_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    asks_each_tile(monkeypatch)
    with pytest.raises(AssertionError):
        test_no_tile_waits_for_the_device()


@pytest.mark.parametrize("negatives", ["everywhere", "own"])
def test_mixed_precision_of_the_step_leaves_the_loss_alone(negatives: str) -> None:
    config = replace_negatives(CONFIGS["own"], negatives)
    with accelerator():
        plain = contrastive(config, on="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            check([value.cpu() for value in plain], contrastive(config, on="cuda"))


def replace_negatives(config: LossConfig, negatives: str) -> LossConfig:
    return LossConfig.parse({**config.model_dump(mode="json"), "negatives": negatives})

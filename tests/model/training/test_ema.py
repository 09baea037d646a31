"""The average of the weights: its numbers, and that it is what a stage hands on."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from model.artifact import load_encoder
from model.training.ema import Ema
from model.training.stage import run_stage
from tests.model.training.toy import stage_of, toy_batches


def test_updates_follow_the_formula_and_survive_a_checkpoint() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    ema, expected = Ema({"w": weight}, 0.5), 1.0
    for n in range(1, 20):
        with torch.no_grad():
            weight += 1
        ema.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weight.item()
        assert ema.averages["w"].item() == pytest.approx(expected, rel=1e-5)
        if n == 10:
            later = Ema({"w": weight}, 0.5)
            later.restore(ema.state())
            ema = later
    before = weight.item()
    with ema.applied():
        assert weight.item() == pytest.approx(expected, rel=1e-5)
    assert weight.item() == before
    ema.apply()
    assert weight.item() == pytest.approx(expected, rel=1e-5)


class Recorder:
    """Weights of the head after each step, as a sink sees them."""

    def __init__(self, encoder) -> None:
        self.encoder = encoder
        self.seen: list[torch.Tensor] = []

    def __call__(self, scalars, step: int) -> None:
        self.seen.append(self.encoder.head.weight.detach().clone())


STAGE = {"trainable": {"head": 1e-1}, "warmup_steps": 0, "ema": 0.8, "snapshots": 1, "checkpoint_every_steps": 2}


def test_the_stage_hands_on_the_average(tiny_artifact, tmp_path: Path) -> None:
    encoder = load_encoder(tiny_artifact)
    stage, recorder = stage_of(**STAGE), Recorder(encoder)
    average = encoder.head.weight.detach().clone()
    run_stage(encoder, stage, toy_batches(encoder, stage), checkpoints=tmp_path, sinks=[recorder])
    for n, weight in enumerate(recorder.seen, 1):
        average.lerp_(weight, 1 - min(0.8, (1 + n) / (10 + n)))
        if n == 2:
            [snapshot] = (tmp_path / "snapshots").glob("*.safetensors")
            assert torch.allclose(load_file(snapshot)["head.weight"], average, atol=1e-6), "snapshots are averages too"
    assert torch.allclose(encoder.head.weight, average, atol=1e-6)
    assert not torch.allclose(encoder.head.weight, recorder.seen[-1], atol=1e-3), "not the last weights"


def test_a_stage_resumed_after_its_last_step_hands_on_the_same(tiny_artifact, tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        encoder = load_encoder(tiny_artifact)
        stage = stage_of(**STAGE)
        first = run_stage(encoder, stage, toy_batches(encoder, stage), checkpoints=tmp_path)
        found.append(encoder.head.weight.detach().clone())
    assert first == stage.steps
    assert torch.equal(*found)


def test_the_average_changes_no_step(tiny_artifact, tmp_path: Path) -> None:
    seen = []
    for name, changes in (("with", {}), ("without", {"ema": None})):
        encoder = load_encoder(tiny_artifact)
        stage, recorder = stage_of(**{**STAGE, **changes}), Recorder(encoder)
        run_stage(encoder, stage, toy_batches(encoder, stage), checkpoints=tmp_path / name, sinks=[recorder])
        seen.append(recorder.seen)
    assert len(seen[0]) == 4
    assert all(torch.equal(*pair) for pair in zip(*seen, strict=True))

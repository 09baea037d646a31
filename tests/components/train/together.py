"""A small stage for several processes, what to compare of it, and faults that the comparison has to find."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file

from components.train.config import TrainConfig
from components.train.launch import launch
from components.train.run import run
from model.training import parts
from model.training.history import History
from model.training.world import ALONE, World


def config(processes: int, strategy: str = "ddp", **changes: object) -> TrainConfig:
    """A stage of two steps in which projectors, the last layer of the trunk, head and temperature learn.

    AdamW divides by more than the noise of sums in another order, so that weights can be compared too.
    """
    stage = {
        "kind": "align",
        "steps": 2,
        "tasks": [{"name": "text_to_image", "batch_size": 4, "query_task": "query"}],
        "loss": {"temperature_rate": 1e-2},
        "temperature": 0.5,
        "trainable": {"projectors": 1e-3, "trunk.encoder.layer.1": 1e-3, "head": 1e-3},
        "prefix_dropout": 0.5,
        "adamw": {"eps": 1e-3},
        "checkpoint_every_steps": 1,
        "log_every_steps": 1,
        "warmup_steps": 0,
        **changes,
    }
    return TrainConfig.parse({"stage": stage, "launch": {"processes": processes, "strategy": strategy}})


def train(wanted: TrainConfig, dataset: Path, model: Path, where: Path, sinks: tuple = ()) -> dict[str, float]:
    """Launch it; checkpoints, page and artifact are in ``where``."""
    paths = {"dataset": dataset, "model": model, "features": None, "report": where / "page.html"}
    return launch(wanted, sinks=sinks, checkpoints=where / "checkpoints", output=where / "model", **paths)


def alone(wanted: TrainConfig, dataset: Path, model: Path, where: Path) -> dict[str, float]:
    """Train it in this process."""
    return _here(wanted, dataset, model, where, ALONE)


def _here(wanted: TrainConfig, dataset: Path, model: Path, where: Path, world: World) -> dict[str, float]:
    """Without the page, which takes longer than a small stage."""
    paths = {"dataset": dataset, "model": model, "features": None}
    return run(wanted, world=world, checkpoints=where / "checkpoints", output=where / "model", **paths)


@dataclass(frozen=True)
class Case:
    """A stage for the processes of ``side_by_side``, and what is broken in them on purpose.

    With ``part_bytes`` every batch has several parts, of so many bytes.
    """

    wanted: TrainConfig
    dataset: Path
    model: Path
    where: Path
    fault: str | None = None
    part_bytes: int | None = None


def train_cases(rank: int, cases: Sequence[Case]) -> None:
    """The part of one process, case by case; for ``side_by_side``."""
    for case in cases:
        world = World(rank, case.wanted.launch.processes, 1)
        try:
            with _broken(case.fault), _in_parts(case.part_bytes):
                _here(case.wanted, case.dataset, case.model, case.where, world)
        except Exception as error:
            error.add_note(f"process {rank}, case {case.where.name}")
            raise


@contextmanager
def _in_parts(part_bytes: int | None) -> Iterator[None]:
    """Batches come in parts of that size, and none of them is put together."""
    if part_bytes is None:
        yield
        return
    whole = patch("model.training.module.materialised", side_effect=AssertionError("a batch of one part a side"))
    with patch.object(parts, "PART_BYTES", part_bytes), whole:
        yield


def _broken(fault: str | None) -> AbstractContextManager[object]:
    if fault is None:
        return nullcontext()
    if fault == "whole parameters are not averaged":
        return patch("model.training.module.average_whole", _as_they_are)
    assert fault == "embeddings of other processes are constants", fault
    return patch("model.losses.gather._Gather.backward", _own_rows)


def _as_they_are(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Zeros where there is none, as the average makes, so that processes still exchange the same sizes."""
    for p in parameters:
        if p.requires_grad and p.grad is None:
            p.grad = torch.zeros_like(p)


def _own_rows(ctx: object, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
    """The gradient that several libraries ship: what other processes' losses want of our rows is lost."""
    from model.losses.gather import rank

    return torch.split(grad, list(ctx.counts))[rank()], None  # type: ignore[attr-defined]


def gradients(where: Path) -> dict[int, torch.Tensor]:
    """Those of the first step by parameter: a tenth of each is in AdamW's state, which has none of unused ones."""
    saved = torch.load(where / "checkpoints/step-00000001.ckpt", weights_only=True)
    return {number: state["exp_avg"] for number, state in saved["optimizer_states"][0]["state"].items()}


def weights(model: Path) -> dict[str, torch.Tensor]:
    """All weights of an artifact, snapshots included."""
    files = sorted(model.rglob("*.safetensors"))
    return {f"{p.relative_to(model)}:{name}": value for p in files for name, value in load_file(p).items()}


def agree(one: Path, two: Path, start: Path, rough: float = 1.0) -> None:
    """Losses, gradient norms, first gradients and final weights of ``two`` are those of ``one``.

    Args:
        one: where one process trained.
        two: where several did.
        start: the model that both started from.
        rough: how many times the noise of single precision is allowed.
    """
    for a, b in zip(*(History(where / "checkpoints").rows() for where in (one, two)), strict=True):
        figures = [name for name in a if name == "loss" or name.startswith("gradient_norm")]
        assert len(figures) >= 2
        assert {n: b[n] for n in figures} == pytest.approx({n: a[n] for n in figures}, rel=1e-3 * rough)
    ours, theirs = gradients(one), gradients(two)
    assert set(ours) == set(theirs)
    largest = max(float(gradient.abs().max()) for gradient in ours.values())
    assert largest > 1e-6, "without gradients agreement would prove nothing"
    for number, gradient in ours.items():
        torch.testing.assert_close(theirs[number], gradient, rtol=1e-3 * rough, atol=1e-5 * largest * rough**2)
    same_weights(weights(one / "model"), weights(two / "model"), weights(start), rough)


def same_weights(
    one: Mapping[str, torch.Tensor], two: Mapping[str, torch.Tensor], start: Mapping[str, torch.Tensor], rough: float
) -> None:
    """Weights moved equally far in the same direction; of snapshots, which are rounded, the names and shapes count."""
    assert {name: w.shape for name, w in one.items()} == {name: w.shape for name, w in two.items()}
    moved = max(_apart(one[name], w) for name, w in start.items())
    assert moved > 1e-4, "weights that did not move would agree anyhow"
    for name in start:
        assert _apart(one[name], two[name]) <= 0.01 * rough * moved, name


def _apart(one: torch.Tensor, two: torch.Tensor) -> float:
    """Largest difference; bounds of clipping that are infinite in both are equal."""
    return float((one.double() - two.double()).nan_to_num().abs().max())

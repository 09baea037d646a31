"""The losses of a small stage, to the last bit: a change that is meant to change no number has to leave them alone.

Bits depend on the version of torch and on the processor's instructions, so there is a golden file for each of those
that somebody has recorded (``make golden``, or OMNIVEC_UPDATE_GOLDEN=1). On others the losses have to be close to them.
"""

import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from components.train.config import TrainConfig
from components.train.run import run

LOSSES = Path(__file__).parents[2] / "golden" / "losses"
STAGE = {
    "kind": "finetune",
    "steps": 12,
    "tasks": [{"name": "text_to_image", "batch_size": 4, "temperature": 0.1}],
    "trainable": {"projectors": 1e-2, "trunk": 1e-3, "head": 1e-3},
    "warmup_steps": 3,
    "log_every_steps": 1,
}


def processor() -> str:
    """Maker and instruction set: what decides which kernels run."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    vendor = next((line.split(":")[1].strip() for line in lines if line.startswith("vendor_id")), platform.machine())
    return f"{vendor}-{torch.backends.cpu.get_cpu_capability()}"


@pytest.fixture(scope="module")
def losses(dataset: Path, tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    where = tmp_path_factory.mktemp("golden")
    seen: list[float] = []
    torch.set_num_threads(1)
    run(
        TrainConfig.parse({"stage": STAGE}),
        dataset=dataset,
        model=tiny_artifact,
        features=None,
        checkpoints=where / "checkpoints",
        output=where / "model",
        sinks=[lambda scalars, step: seen.append(scalars["loss"])],
    )
    return seen


def test_losses_are_those_recorded_to_the_last_bit(losses: list[float], golden: Callable[[str, str], None]) -> None:
    name = f"torch-{torch.__version__.split('+')[0]}-{processor()}.txt"
    if (LOSSES / name).is_file() or os.environ.get("OMNIVEC_UPDATE_GOLDEN"):
        golden(f"losses/{name}", "".join(f"{loss.hex()}  {loss:.6f}\n" for loss in losses))


def test_losses_are_close_to_all_that_are_recorded(losses: list[float]) -> None:
    recorded = list(LOSSES.glob("*.txt"))
    assert recorded
    for path in recorded:
        golden_losses = [float.fromhex(line.split()[0]) for line in path.read_text().splitlines()]
        assert losses == pytest.approx(golden_losses, rel=2e-2), path.name
    assert losses[-1] < losses[0]

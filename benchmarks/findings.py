"""What a script without peers in every row writes down: findings, and where they were measured."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from model.memory import peak_bytes

GB = 1e9
FITS = (torch.OutOfMemoryError, MemoryError)


@dataclass(frozen=True)
class Finding:
    """One row: a value, what it is held against, or why it is missing.

    ``target`` is in the unit of ``value`` unless the note says otherwise; ``peer_value`` is of the same run.
    """

    name: str
    value: float | None = None
    unit: str = ""
    target: str = ""
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    note: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Bench:
    """Where and how large."""

    device: str
    toy: bool
    scratch: Path

    def of(self, real: Any, toy: Any) -> Any:
        """What suits the machine."""
        return toy if self.toy else real

    @property
    def autocast(self) -> Any:
        """Mixed precision as in training, where Lightning keeps no copies of weights between uses."""
        return torch.autocast(self.device, torch.bfloat16, cache_enabled=False)

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def measured(self, step: Callable[[], object]) -> tuple[float, float]:
        """Seconds of a step, and the most memory in GB of device or process while it runs, all that lies there."""
        self.wait()
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")
        start = time.perf_counter()
        step()
        self.wait()
        seconds = time.perf_counter() - start
        return seconds, (torch.cuda.max_memory_allocated() if self.device == "cuda" else peak_bytes()) / GB


def lacking(*packages: str) -> str:
    """The packages that are not installed, in words; empty where all are."""
    absent = [name for name in packages if find_spec(name) is None]
    return f"not installed here: {', '.join(absent)}" if absent else ""


def failed(error: BaseException) -> str:
    """Why a row is missing."""
    return f"failed: {type(error).__name__}: {str(error)[:300]}"

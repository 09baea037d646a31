"""Where the time and the memory of a stage go."""

import time
from collections.abc import Callable

import torch
from lightning.pytorch.profilers import Profiler

from model.memory import peak_bytes, resident_bytes
from model.training.batch import Pooled, Side, StepBatch
from model.training.parts import Parted
from model.unified.batch import UnifiedBatch

FETCH = "[_TrainingEpochLoop].train_dataloader_next"


class WaitClock(Profiler):
    """Adds up the seconds in which the trainer waits for its next batch; Lightning tells when it starts and stops."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self._since = 0.0

    def start(self, action_name: str) -> None:
        """Lightning starts something."""
        if action_name == FETCH:
            self._since = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """Lightning is done with it."""
        if action_name == FETCH:
            self.seconds += time.perf_counter() - self._since

    def add(self, seconds: float) -> None:
        """Waiting that Lightning does not know of: for the parts of a batch, within a step."""
        self.seconds += seconds


class Meter:
    """Rates since the last reading.

    Args:
        clock: measures the waiting.
        flops: operations of one side of a batch, or None when they are not known.
        peak: operations per second of the hardware, or None when it is not known.
        processes: that train together; pairs and tokens are those of all of them, whose shares are taken to be alike.
    """

    def __init__(
        self,
        clock: WaitClock,
        flops: Callable[[Side], float | None] | None = None,
        peak: float | None = None,
        *,
        processes: int = 1,
    ) -> None:
        self.clock = clock
        self.flops = flops if peak else None
        self.peak = peak
        self.processes = processes
        self.observing = 0.0
        self._operations: float | None = 0.0
        self._restart()

    def add(self, batch: StepBatch) -> None:
        """Count a batch that was trained on."""
        self._steps += 1
        self._pairs += len(batch.pairing.query_key_N)
        self._tokens += tokens_of(batch.query) + tokens_of(batch.document)
        if self.flops is not None and self._operations is not None:
            both = [self.flops(side) for side in (batch.query, batch.document)]
            self._operations = None if None in both else self._operations + sum(filter(None, both))

    def read(self, device: torch.device) -> dict[str, float]:
        """Rates and shares since the last reading, memory now; then start afresh."""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        found = {
            "steps_per_second": self._steps / seconds,
            "pairs_per_second": self.processes * self._pairs / seconds,
            "data_wait_share": (self.clock.seconds - self._waited) / seconds,
            "observation_share": self.observing / seconds,
            **memory(device),
        }
        if self._tokens:
            found["tokens_per_second"] = self.processes * self._tokens / seconds
        if self.peak and self._operations:
            found["mfu"] = self._operations / seconds / self.peak
        self._restart()
        return found

    def _restart(self) -> None:
        self._began = time.perf_counter()
        self._waited = self.clock.seconds
        self._steps = self._pairs = self._tokens = 0
        self._operations = 0.0
        self.observing = 0.0


def memory(device: torch.device) -> dict[str, float]:
    """Memory of this process in GB: resident now and at most, and on the device."""
    found = {"memory/process_peak_gb": peak_bytes() / 1e9}
    if resident := resident_bytes():
        found["memory/process_gb"] = resident / 1e9
    if device.type == "cuda":
        found["memory/device_gb"] = torch.cuda.memory_allocated(device) / 1e9
        found["memory/device_peak_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
    return found


def tokens_of(side: Side) -> int:
    """Tokens that went through the network, padding left out: none for states that were pooled before."""
    if isinstance(side, Pooled):
        return 0
    if isinstance(side, Parted):
        return sum(int(lengths_N.sum()) for lengths_N in side.lengths)
    if isinstance(side, UnifiedBatch):
        return int(side.mask_NL.sum())
    return sum(
        int(group.features["attention_mask"].sum()) for group in side.groups if "attention_mask" in group.features
    )

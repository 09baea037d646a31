"""How much memory this process holds, as the kernel counts it."""

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def resident_bytes() -> int | None:
    """Resident memory now, or None where the kernel does not say (only Linux does)."""
    return _status("VmRSS")


def peak_bytes() -> int:
    """Resident memory at most, since this program began.

    On Linux the figure of ``getrusage`` is not used where another is at hand: a child process starts with the peak of
    the process that started it.
    """
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(name: str) -> int | None:
    if not STATUS.is_file():
        return None
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)

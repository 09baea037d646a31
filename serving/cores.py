"""How many cores this process may use: a container sees those of its machine, and may use its quota."""

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = QUOTA) -> int:
    """Cores that the process may run on, at most what a quota of processor time amounts to, rounded up."""
    allowed = len(os.sched_getaffinity(0))
    try:
        most, period = quota.read_text(encoding="ascii").split()
        return max(1, min(allowed, math.ceil(int(most) / int(period))))
    except (OSError, ValueError):  # no quota: the file is missing or says "max"
        return allowed

"""Whether processes that are not children of the test still run."""

import time
from collections.abc import Iterable
from pathlib import Path


def alive(pids: Iterable[int]) -> list[int]:
    """Those that still run: a zombie waits for its parent, not for us."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [pid] if state != "Z" else []
    return found


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends within ``seconds``."""
    end = time.monotonic() + seconds
    while alive([pid]):
        if time.monotonic() >= end:
            return False
        time.sleep(0.02)
    return True

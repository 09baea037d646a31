"""End a service whose launcher has died, so that a killed run leaves no server behind."""

import os
import select
import signal
import threading
from collections.abc import Callable

LAUNCHER_VARIABLE = "OMNIVEC_SERVING_LAUNCHER"
"""Process id of the launcher; set by ``serving.launch``, unset when an orchestrator runs the service itself."""


def stop_supervisor() -> None:
    """Ask BentoML's supervisor, the parent of this worker, for an orderly stop."""
    os.kill(os.getppid(), signal.SIGTERM)


def follow(launcher: str | None, act: Callable[[], None] = stop_supervisor) -> None:
    """Call ``act`` once the process ``launcher`` has ended; does nothing without one."""
    if launcher is not None:
        threading.Thread(target=_wait, args=(int(launcher), act), name="lifeline", daemon=True).start()


def _wait(pid: int, act: Callable[[], None]) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        act()
        return
    select.select([handle], [], [])  # readable once the process has ended
    os.close(handle)
    act()

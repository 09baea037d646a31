"""From the start of the process to the first answer, and what the service holds in memory, next to its peer."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks.rows import Row
from benchmarks.serving_sides import Service, fastapi_service, our_service
from benchmarks.setting import Setting

STARTS = 3
CLIENTS, MEDIA_CLIENTS = 64, 8
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Start:
    """Seconds until ready; bytes when ready, and after texts, pictures and sounds from many clients."""

    seconds: float
    warm: int
    loaded: int


def measure(setting: Setting, start: Callable[[], Iterator[Service]]) -> Start:
    """Start a service, load it, and stop it."""
    with contextmanager(start)() as service:
        warm = service.memory()
        service.load(setting.text_contents, clients=CLIENTS, requests=len(setting.text_contents))
        for contents in (setting.picture_contents, setting.sound_contents):
            service.load(contents, clients=MEDIA_CLIENTS, requests=len(contents))
        return Start(service.ready_seconds, warm, service.memory())


def start(setting: Setting, name: str) -> Row:
    """One row: all towers on both sides; ours is warmed up when it is ready, the peer is not."""
    backend = {"fp32": "onnx", "int8": "onnx-int8"}[name]
    sides = {
        "ours": partial(our_service, setting, backend),
        "peer": partial(fastapi_service, setting, whole=True, lock=False),
    }
    found: dict[str, list[Start]] = {side: [] for side in sides}
    for _ in range(min(STARTS, setting.rounds)):
        for side, make in sides.items():
            found[side].append(measure(setting, make))
    seconds = {side: statistics.median(one.seconds for one in starts) for side, starts in found.items()}
    pairs = zip(found["ours"], found["peer"], strict=True)
    return Row(
        name=f"serving-start-{name}",
        ours=round(seconds["ours"], 2),
        peer="the artifact in sentence-transformers in a plain FastAPI handler, fp32, not warmed up",
        peer_value=round(seconds["peer"], 2),
        ratio=round(statistics.median(theirs.seconds / own.seconds for own, theirs in pairs), 3),
        unit="s to ready",
        hardware=setting.hardware,
        note=f"memory {_memory(found['ours'])} against {_memory(found['peer'])} (proportional set); "
        f"median of {len(found['ours'])} starts, files already read once; the rule is <= 10 s",
    )


def _memory(starts: list[Start]) -> str:
    warm, loaded = (statistics.median(getattr(one, when) for one in starts) / MEBIBYTE for when in ("warm", "loaded"))
    return f"{warm:.0f} MiB when ready and {loaded:.0f} MiB after load"


ROWS: dict[str, Callable[[Setting], Row]] = {f"serving-start-{n}": partial(start, name=n) for n in ("fp32", "int8")}

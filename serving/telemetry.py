"""Metrics and logs. Neither ever holds raw input: only counts, kinds, seconds, codes and request ids."""

import json
import logging
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import Histogram

LOGGER_NAME = "omnivec.serving"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

log = logging.getLogger(LOGGER_NAME)


@dataclass(frozen=True)
class Load:
    """What an embedder holds: everything, of it what waits for a thread, and the measured rate."""

    items: int = 0
    work: float = 0.0
    waiting_items: int = 0
    waiting_tokens: int = 0
    tokens_per_second: float = 0.0


class Metrics:
    """Prometheus instruments of the service. Made once a process, by :func:`metrics`."""

    def __init__(self) -> None:
        # Imported late: BentoML decides about multi-process collection before the client library is first imported.
        from prometheus_client import Counter, Gauge, Histogram

        self.requests = Counter("omnivec_requests_total", "Requests by route and status", ["route", "status"])
        self.request_seconds = Histogram("omnivec_request_seconds", "Whole request", ["route"], buckets=SECONDS)
        self.rejections = Counter(
            "omnivec_rejections_total", "Requests not answered with 200, by code and exceeded limit", ["code", "limit"]
        )
        self.phase_seconds = Histogram(
            "omnivec_phase_seconds",
            "prepare and queue: per item; compute: per batch; finish: per request",
            ["phase", "kind"],
            buckets=SECONDS,
        )
        self._phases: dict[tuple[str, str], Histogram] = {}
        self.items = Counter("omnivec_items_total", "Items by kind and outcome", ["kind", "outcome"])
        self.dropped = Counter(
            "omnivec_items_dropped_total", "Items of requests that ended early, unfinished by then", ["why"]
        )
        self.reused = Counter("omnivec_items_reused_total", "Items that needed no compute of their own", ["how"])
        self.cache = Counter("omnivec_cache_lookups_total", "Look-ups in the cache of vectors", ["outcome"])
        self.tokens = Counter("omnivec_tokens_total", "Tokens embedded by modality", ["modality"])
        self.batch_items = Histogram("omnivec_batch_items", "Items in a compute batch", buckets=COUNTS)
        self.batch_tokens = Histogram("omnivec_batch_tokens", "Tokens in a compute batch", buckets=TOKENS)
        self.padding = Counter("omnivec_padding_tokens_total", "Tokens of padding that were computed")
        self.captured = Counter("omnivec_captured_items_total", "Rows of the drift capture", ["outcome"])
        gauges = {
            "pending_items": ("items", "Items inside the service, in any phase"),
            "pending_tokens": ("work", "Their cost in tokens, guessed until they are prepared"),
            "queue_items": ("waiting_items", "Items that wait for a thread to prepare or compute them"),
            "queue_tokens": ("waiting_tokens", "Tokens that wait to be computed"),
            "tokens_per_second": ("tokens_per_second", "Measured rate of the last busy seconds, in cost of tokens"),
        }
        self._gauges = {
            field: Gauge(f"omnivec_{name}", text, multiprocess_mode="livesum") for name, (field, text) in gauges.items()
        }
        self._watched: dict[object, Callable[[], Load]] = {}

    def phase(self, name: str, kind: str) -> "Histogram":
        """Seconds of a phase; looked up once, since each item observes some."""
        known = self._phases.get((name, kind))
        if known is None:
            known = self._phases[name, kind] = self.phase_seconds.labels(name, kind)
        return known

    def watch(self, owner: object, load: Callable[[], Load]) -> None:
        """Let the gauges show the load of an owner, together with that of the others."""
        self._watched[owner] = load
        self.refresh()

    def unwatch(self, owner: object) -> None:
        """Forget an owner."""
        self._watched.pop(owner, None)
        self.refresh()

    def refresh(self) -> None:
        """Set the gauges. Called after what changes them, for a scrape cannot call back into several processes."""
        loads = [load() for load in self._watched.values()]
        for field, gauge in self._gauges.items():
            gauge.set(sum(getattr(load, field) for load in loads))


@lru_cache(maxsize=1)
def metrics() -> Metrics:
    """The instruments of this process."""
    return Metrics()


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, event, and the fields given as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record; an exception is given by type and stack alone, for its message may quote the input."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _RECORD_FIELDS})
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["stack"] = "".join(traceback.format_tb(record.exc_info[2]))
        return json.dumps(line, default=str, ensure_ascii=False)


def configure_logging() -> None:
    """Send the service's log to stderr as JSON lines. May be called again: BentoML disables loggers it finds."""
    log.disabled = False
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False

"""Who may do what: all but the probes and the page at / needs a key with the right scope, unless opened on purpose.

The gate stands before everything, BentoML's own routes included: what it has no rule for needs a key too.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.types import Scope as AsgiScope

from serving.errors import RequestError
from serving.keys import ApiKey, KeyRing, Scope
from serving.room import Room

PROBES = frozenset({"/livez", "/readyz", "/healthz"})
OPEN = PROBES | {"/"}  # the page at / holds nothing of the service
METRICS = "/metrics"
OPEN_NAME = "anonymous"
# Google's clients send the second; both stand in headers, since an address is logged by proxies.
HEADERS = (b"authorization", b"x-goog-api-key", b"x-api-key")


@dataclass
class Client:
    """One caller's standing: its key, its allowance of requests, and its items inside the service."""

    key: ApiKey | None
    clock: Callable[[], float] = time.monotonic
    _room: Room | None = field(init=False, default=None)
    _allowance: float = field(init=False, default=0.0)
    _at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._allowance, self._at = float(self.rate or 0), self.clock()
        if self.key is not None and self.key.items_in_flight is not None:
            self._room = Room(self.key.items_in_flight, self.clock)

    @property
    def name(self) -> str:
        """Name for the log."""
        return self.key.name if self.key is not None else OPEN_NAME

    @property
    def rate(self) -> int | None:
        """Requests a minute, or None for no limit."""
        return self.key.requests_per_minute if self.key is not None else None

    def spend(self) -> None:
        """Take one request from the allowance, which fills up steadily.

        Raises:
            RequestError: 429 when it is used up.
        """
        if self.rate is None:
            return
        now = self.clock()
        self._allowance = min(float(self.rate), self._allowance + (now - self._at) * self.rate / 60)
        self._at = now
        if self._allowance < 1:
            wait = math.ceil((1 - self._allowance) * 60 / self.rate)
            raise RequestError(
                f"key {self.name!r} may send {self.rate} requests a minute; retry after {wait} s",
                status=429,
                code="rate_limited",
                limit="requests_per_minute",
                headers={"Retry-After": str(wait)},
            )
        self._allowance -= 1

    @contextmanager
    def holding(self, count: int) -> Iterator[None]:
        """Count items inside the service.

        Raises:
            RequestError: 429 when the key would have too many there.
        """
        if (room := self._room) is None:
            yield
            return
        if room.held + count > room.most:
            seconds = room.seconds(count)
            raise RequestError(
                f"key {self.name!r} has {room.held} items in the service and may have {room.most}; retry after "
                f"{seconds} s",
                status=429,
                code="rate_limited",
                limit="items_in_flight",
                headers={"Retry-After": str(seconds)},
            )
        room.take(count)
        served = False
        try:
            yield
            served = True
        finally:
            room.leave(count, served=served)


class Gate:
    """Identifies callers.

    Args:
        ring: the keys; None lets everyone in, which the configuration allows on a loopback address or by its word.
    """

    def __init__(self, ring: KeyRing | None) -> None:
        self._ring = ring
        self._anonymous = Client(None)
        self._clients: dict[str, Client] = {}

    def admit(self, scope: AsgiScope) -> Client:
        """The caller of a request.

        Raises:
            RequestError: 401 without a known key, 403 without the scope, 429 over the key's rate.
        """
        if self._ring is None or scope["path"] in OPEN:
            return self._anonymous
        given = _key_of(scope)
        key = self._ring.find(given) if given is not None else None
        if key is None:
            raise RequestError(
                ("this key is not known here" if given else "a key is needed")
                + "; send it as `Authorization: Bearer KEY`",
                status=401,
                code="invalid_api_key" if given else "missing_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        needed = scope_of(scope["method"], scope["path"])
        if needed not in key.scopes:
            raise RequestError(
                f"key {key.name!r} has no scope {needed!r}, only {', '.join(sorted(key.scopes))}",
                status=403,
                code="insufficient_scope",
            )
        client = self._client(key)
        client.spend()
        return client

    def _client(self, key: ApiKey) -> Client:
        known = self._clients.get(key.sha256)
        if known is None or known.key != key:  # new, or its limits were changed
            known = self._clients[key.sha256] = Client(key)
        return known


def scope_of(method: str, path: str) -> Scope:
    """What a request needs."""
    if path == METRICS:
        return "metrics"
    return "embed" if method == "POST" else "models"


def _key_of(scope: AsgiScope) -> str | None:
    sent: dict[bytes, str] = {
        name: value.decode("latin-1").strip() for name, value in scope.get("headers", ()) if name in HEADERS
    }
    for name in HEADERS:
        value = sent.get(name, "")
        if name == b"authorization":
            kind, _, value = value.partition(" ")
            value = value.strip() if kind.lower() == "bearer" else ""
        if value:
            return value
    return None

"""When a request must be answered: what its caller says, within what the operator allows."""

import re
from collections.abc import Mapping

from serving.config import RequestLimits
from serving.errors import RequestError

HEADERS = ("X-Request-Timeout", "X-Server-Timeout")
"""Seconds; the second is what Google's client sends."""
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,2})?")


def seconds_allowed(headers: Mapping[str, str], limits: RequestLimits) -> float:
    """Seconds that a request may take, counted from its head.

    Raises:
        RequestError: 400 for a header that is no positive number.
    """
    for name in HEADERS:
        if (given := headers.get(name)) is not None:
            return min(_seconds(name, given), max(limits.timeout_seconds, limits.max_timeout_seconds))
    return limits.timeout_seconds


def _seconds(name: str, given: str) -> float:
    seconds = float(given) if _NUMBER.fullmatch(given) else 0.0  # float() alone takes "inf", "nan" and "1_000"
    if not seconds:
        raise RequestError(
            f"{name}: {given[:32]!r} is not a number of seconds above 0, such as 30 or 2.5",
            status=400,
            code="invalid_timeout",
            param=name,
        )
    return seconds


def too_late(seconds: float, done: int, items: int) -> RequestError:
    """504: the time of a request is over, and what it still had to do was dropped."""
    return RequestError(
        f"the request's {round(seconds, 2):g} s are over with {done} of {items} items done; the others were dropped. "
        f"{HEADERS[0]} may ask for more",
        status=504,
        code="timeout",
        limit="timeout_seconds",
    )

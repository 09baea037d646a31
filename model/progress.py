"""Progress for long work: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")
LINE_EVERY_SECONDS = 10.0


def progress(
    items: Iterable[T],
    *,
    total: int | None = None,
    desc: str = "",
    unit: str = "it",
    size: Callable[[T], int] = lambda _: 1,
) -> Iterator[T]:
    """Yield ``items`` while reporting how far, how fast and how long it will still take.

    Args:
        items: what to iterate.
        total: number of items when ``items`` has no length.
        desc: what is being done, such as ``decode images``.
        unit: name of one item, such as ``clip``.
        size: how many units an item is, where it is not one: the rows of a piece.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=desc, unit=f" {unit}", smoothing=0.1) as bar:
            for item in items:
                yield item
                bar.update(size(item))
    else:
        yield from _lines(items, total, desc, unit, size)


def _lines(items: Iterable[T], total: int | None, desc: str, unit: str, size: Callable[[T], int]) -> Iterator[T]:
    started = last = time.monotonic()
    count = 0
    for item in items:
        yield item
        count += size(item)
        now = time.monotonic()
        if now - last >= LINE_EVERY_SECONDS:
            last = now
            _report(count, total, now - started, desc, unit)
    _report(count, total, time.monotonic() - started, desc, unit)


def _report(count: int, total: int | None, seconds: float, desc: str, unit: str) -> None:
    rate = count / max(seconds, 1e-9)
    left = f", {(total - count) / rate:.0f} s left" if total and rate > 0 and count < total else ""
    of = f"/{total}" if total else ""
    sys.stderr.write(f"{desc}: {count}{of} {unit} in {seconds:.1f} s ({rate:.1f} {unit}/s{left})\n")
    sys.stderr.flush()

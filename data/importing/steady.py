"""Remote files of a source that do not break with the network: what fails is tried again where it was.

What fails for good ends the import, and is not taken for damage of the file: readers count an ``OSError`` as damage, so
none is let through.
"""

import io
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, TypeVar

from model.errors import DataError

T = TypeVar("T")
PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
BUFFER = 1 << 20
FIRST_PAUSE = 0.5


class UnreachableError(DataError):
    """A place is away, for now: the import ends, and nothing is refused for it."""


def attempted(retries: int, once: Callable[[], T], final: tuple[type[Exception], ...]) -> T:
    """What ``once`` gives, called again after ever longer pauses; raises what the last call raised, or a ``final``."""
    for attempt in range(retries):
        try:
            return once()
        except final:
            raise
        except Exception:  # each file system has errors of its own
            time.sleep(FIRST_PAUSE * 2**attempt)
    return once()


def persist(place: str, retries: int, once: Callable[[], T]) -> T:
    """Do something with a remote place, again when it fails.

    Raises:
        UnreachableError: it cannot be reached.
        DataError: it is not there.
    """
    # Of HTTP fsspec calls whatever fails a missing file.
    permanent = PERMANENT[1:] if place.startswith("http") else PERMANENT
    try:
        return attempted(retries, once, (DataError, *permanent))
    except DataError:
        raise
    except permanent as error:
        raise DataError(f"{place} cannot be opened: {type(error).__name__} {error}") from error
    except Exception as error:
        raise UnreachableError(
            f"{place} cannot be reached: {type(error).__name__} {error}; {retries + 1} attempts. The file is "
            "not taken for damaged: once it can be reached, the same command goes on where it was"
        ) from error


def steady(place: str, retries: int, opener: Callable[[], Any]) -> IO[bytes]:
    """A file to read and to seek in; it is opened when it is read.

    Args:
        place: for messages.
        retries: of whatever fails.
        opener: opens it anew.
    """
    return io.BufferedReader(_Steady(place, retries, opener), BUFFER)


class _Steady(io.RawIOBase):
    def __init__(self, place: str, retries: int, opener: Callable[[], Any]) -> None:
        self._place = place
        self._retries = retries
        self._opener = opener
        self._file: Any = None
        self._at = 0  # where the next byte is to be read
        self._size: int | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            persist(self._place, self._retries, self._open)
            if self._size is None:
                raise DataError(f"{self._place} is read from its end, and its server does not tell its size: copy it")
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size or 0}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = persist(self._place, self._retries, lambda: self._read(len(buffer)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            self._open()
            self._go()
            data = bytes(self._file.read(size))
        except Exception:
            self._drop()
            raise
        if not data and size and self._size is not None and self._at < self._size:
            self._drop()
            raise ConnectionError(f"it ended at byte {self._at} of {self._size}")
        return data

    def _open(self) -> None:
        if self._file is not None:
            return
        self._file = self._opener()
        size = getattr(self._file, "size", None)
        if self._size is not None and size is not None and size != self._size:
            raise DataError(f"{self._place} had {self._size} bytes and now has {size}: it changed while it was read")
        self._size = self._size if size is None else int(size)

    def _go(self) -> None:
        """Bring the file to where is to be read; one that is a stream by reading what is between."""
        if self._file.tell() == self._at:
            return
        try:
            self._file.seek(self._at)
            return
        except ValueError:  # a stream of HTTP, from a server that gives no parts
            if self._file.tell() > self._at:
                self._drop()
                self._open()
        while (left := self._at - self._file.tell()) > 0 and self._file.read(min(left, BUFFER)):
            pass

    def _drop(self) -> None:
        file, self._file = self._file, None
        with suppress(Exception):  # it is of no use any more
            if file is not None:
                file.close()

    def close(self) -> None:
        if not self.closed:
            self._drop()
        super().close()

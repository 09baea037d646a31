"""A compressed file as one that can be sought in: forward by unpacking, a little back from what is kept, else anew.

Nothing is unpacked to a disk. Memory holds what is read at a time and a window behind it; how far a file may unpack is
bounded, as a few megabytes can stand for a disk full of zeros.
"""

import gzip
import io
import zlib
from collections.abc import Callable
from typing import IO, Any

from data.importing.config import Unpacking
from model.errors import DataError

START_BYTES = 6
CHUNK = 1 << 16
WINDOW = 1 << 17
# Below this a ratio says little: an empty tar of 10 KiB takes 45 bytes.
FREE_BYTES = 64 << 20
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


def _gzip(file: IO[bytes]) -> Callable[[int], bytes]:
    return gzip.GzipFile(fileobj=file, mode="rb").read1


def _zstd(file: IO[bytes]) -> Callable[[int], bytes]:
    import pyarrow as pa

    stream = pa.CompressedInputStream(pa.PythonFile(_Lent(file), mode="r"), "zstd")
    read: Callable[[int], bytes] = stream.read
    return read


class _Lent(io.RawIOBase):
    """A file that whoever reads it may close, which pyarrow does when it lets go of one, while it stays open."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


OPENERS = {"gzip": _gzip, "zstd": _zstd}


def packing_of(file: IO[bytes]) -> str | None:
    """How a file is compressed, by its first bytes; None when it is not. The file stands at its start again."""
    start = file.read(START_BYTES)
    file.seek(0)
    return next((name for magic, name in MAGIC.items() if start.startswith(magic)), None)


class Unpacked:
    """What a compressed file unpacks to.

    Damage does not raise: reading ends there, and ``fault`` says why, as a reason and in words.

    Args:
        file: compressed; its owner closes it.
        packing: one of ``OPENERS``.
        limits: how far it may unpack.
    """

    def __init__(self, file: IO[bytes], packing: str, limits: Unpacking) -> None:
        self.fault: tuple[str, str] | None = None
        self._file = file
        self._packing = packing
        self._limits = limits
        self._restart()

    def _restart(self) -> None:
        self._file.seek(0)
        self._next = OPENERS[self._packing](self._file)
        self._window = bytearray()
        self._base = self._at = 0
        self._over = self._torn = False
        self.fault = None

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int) -> int:
        """Go to a place. One before what is kept costs unpacking from the start."""
        if offset < self._base or self._torn:
            self._restart()
        self._at = offset
        while self._end < offset and self._more():
            self._forget()
        return offset

    def read(self, size: int) -> bytes:
        """So many bytes, fewer at the end or before damage."""
        while self._end < self._at + size and self._more():
            pass
        start = self._at - self._base
        data = bytes(self._window[start : start + size])
        self._at += len(data)
        self._forget()
        return data

    def drain(self) -> None:
        """Unpack the rest, as the sum that shows damage is behind it."""
        while self._more():
            self._at = self._end
            self._forget()

    @property
    def _end(self) -> int:
        return self._base + len(self._window)

    def _more(self) -> bool:
        if self._over:
            return False
        try:
            chunk = self._next(CHUNK)
        except DataError:  # of the network: whoever unpacks may have lost its place
            self._torn = True
            raise
        except EOFError as error:
            return self._stop("file_truncated", f"it ends before its end ({error})")
        except (OSError, zlib.error) as error:
            reason = "file_truncated" if "runcated" in str(error) else "file_damaged"
            return self._stop(reason, f"it cannot be unpacked further ({error})")
        if not chunk:
            self._over = True
            return False
        self._window += chunk
        packed, limits = self._file.tell(), self._limits
        if self._end > limits.max_bytes:
            return self._stop("file_too_large", f"more than {limits.max_bytes} bytes (source.unpacking.max_bytes)")
        if self._end > max(FREE_BYTES, limits.max_ratio * packed):
            most = f"{limits.max_ratio} times as much (source.unpacking.max_ratio)"
            return self._stop("file_too_large", f"its first {packed} bytes unpack to more than {most}")
        return True

    def _stop(self, reason: str, message: str) -> bool:
        self._over = True
        self.fault = (reason, message)
        return False

    def _forget(self) -> None:
        old = min(self._at, self._end) - WINDOW - self._base
        if old > 0:
            del self._window[:old]
            self._base += old


class Headers:
    """The file as ``tarfile`` sees it, which believes the size of a header: of one member only so much is read.

    Args:
        file: the tar.
        most: bytes of the headers of one member.
    """

    def __init__(self, file: Any, most: int = 1 << 20) -> None:
        self._file = file
        self._most = most
        self._left = most

    def renew(self) -> None:
        """The next member begins."""
        self._left = self._most

    def read(self, size: int) -> bytes:
        """Bytes of a header.

        Raises:
            OSError: there are too many.
        """
        self._left -= size
        if self._left < 0:
            raise OSError(f"headers of more than {self._most} bytes")
        data: bytes = self._file.read(size)
        return data

    def seek(self, offset: int) -> int:
        """Go to a place."""
        return int(self._file.seek(offset))

    def tell(self) -> int:
        """Where the next byte is read."""
        return int(self._file.tell())

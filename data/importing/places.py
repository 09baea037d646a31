"""Fetching what rows point to: local files below stated roots, and remote ones that an allow-list names.

Rows come from anywhere, so their paths and URIs are not trusted: a link out of a root, a redirect to another host or a
file without an end must not be followed.
"""

import base64
import binascii
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from data.importing.config import Places, Unpacking
from data.importing.looks import ABSENT, local_look, remote_look
from data.importing.outage import Hosts
from data.importing.readers.packed import Unpacked
from data.importing.refusal import Refused
from data.importing.rows import Stored
from data.importing.steady import PERMANENT, UnreachableError, attempted, persist, steady
from model.errors import DataError

T = TypeVar("T")
LOCAL = ("", "file")


class Fetched(NamedTuple):
    """A medium, and what it looked like before it was read; ``None`` where it stands in the row itself."""

    data: bytes
    look: str | None


def is_remote(place: str) -> bool:
    """Whether a place is a URI of another scheme than file."""
    return "://" in place and not place.startswith("file://")


def local_path(place: str) -> Path:
    """Path of a local place."""
    return Path(unquote(urlsplit(place).path)) if place.startswith("file://") else Path(place)


class Access:
    """Opens what the configuration allows.

    Args:
        places: what is allowed.
        base: directory, or URI of one, that relative paths start from.
        unpacking: how far compressed files may unpack.

    Attributes:
        hosts: that remote places are on, and whether they are there.
    """

    def __init__(self, places: Places, base: str, unpacking: Unpacking | None = None) -> None:
        self.places = places
        self.unpacking = unpacking or Unpacking()
        self.base = places.base or base
        self.roots = [local_path(root).resolve() for root in (self.base, *places.roots) if not is_remote(root)]
        self._folder = None if is_remote(self.base) else str(local_path(self.base))
        self._systems: dict[str, Any] = {}
        # One compressed file stays open: whoever goes on in it need not unpack what is before again.
        self._kept: tuple[str, Unpacked] | None = None
        self._files = ExitStack()
        self.hosts = Hosts(lambda place: self._retrying(place, lambda: self._touched(place)))
        weakref.finalize(self, self._files.close)

    def read(self, value: str, most: int) -> bytes:
        """Bytes of a path or URI of a row; as :meth:`fetch`."""
        return self.fetch(value, most).data

    def fetch(self, value: str, most: int) -> Fetched:
        """Bytes of a path or URI of a row, and its look.

        Args:
            value: as it stands in the row.
            most: bytes that are accepted.

        Raises:
            Refused: it may not be read, is not there, or has more.
            UnreachableError: its host is away.
        """
        if value.startswith("data:"):
            return Fetched(_inline(value, most), None)
        place = self.place(value)
        if is_remote(place):
            self._allow(place)
            return self._from_host(place, most)
        look = _look_at(place)
        try:
            return Fetched(_local(self._confined(place), place, most), look)
        except Refused as refused:
            refused.look = look
            raise

    def look(self, value: str) -> str:
        """What a medium that was fetched once looks like now.

        Raises:
            DataError: its file system cannot be asked.
        """
        if "://" not in value and self._folder is not None:  # of the many ways the one that nearly all values go
            return local_look(os.path.join(self._folder, value))  # noqa: PTH118 - a Path takes longer than looking
        place = self.place(value)
        if not is_remote(place):
            return _look_at(place)
        try:
            self._allow(place)
            return self._retrying(place, lambda: self._remote_look(place))
        except Refused as refused:
            if refused.look is None:
                raise DataError(
                    f"whether {place} is as it was imported cannot be found out ({refused.message}): try again when "
                    "it can be reached, or give --fresh"
                ) from refused
            return refused.look

    def unpacked(self, place: str, packing: str) -> Unpacked:
        """A compressed file of the source, at whatever place it was left; the one before is closed.

        Raises:
            DataError: it is remote and not allowed.
        """
        if self._kept is None or self._kept[0] != place:
            self._kept = None
            self._files.close()
            file = self._files.enter_context(self.open(place))
            self._kept = place, Unpacked(file, packing, self.unpacking)
        return self._kept[1]

    def read_range(self, value: str, offset: int, size: int, packing: str | None = None) -> bytes:
        """Bytes of a file of the source from ``offset`` on; of what it unpacks to, if it is compressed."""

        def once() -> bytes:
            if packing is not None:
                unpacked = self.unpacked(value, packing)
                unpacked.seek(offset)
                if len(data := unpacked.read(size)) < size:
                    self._kept = None
                    raise OSError(f"{len(data)} of {size} bytes are there; {unpacked.fault}")
                return data
            with self.open(value) as file:
                file.seek(offset)
                return bytes(file.read(size))

        return self._retrying(value, once)

    def place(self, value: str) -> str:
        """The full place of a value."""
        if is_remote(value) or value.startswith("file://"):
            return value
        if "\0" in value:
            raise Refused("path_invalid", f"{value!r} holds a null character")
        if is_remote(self.base):
            return f"{self.base.rstrip('/')}/{value.lstrip('/')}"
        return str(local_path(self.base) / value)

    @contextmanager
    def open(self, place: str) -> Iterator[IO[bytes]]:
        """Open a file of the source itself.

        Raises:
            DataError: it is remote and not allowed.
        """
        if not is_remote(place):
            with local_path(place).open("rb") as file:
                yield file
            return
        system = self.system(place)
        with steady(place, self.places.retries, lambda: system.open(place, "rb")) as file:
            yield file

    def ask(self, place: str, question: Callable[[Any], Any]) -> Any:
        """What the file system of a remote place answers, asked again when it does not.

        Raises:
            DataError: not allowed, or it does not answer.
        """
        system = self.system(place)
        return persist(place, self.places.retries, lambda: question(system))

    def system(self, place: str) -> Any:
        """File system of a remote place.

        Raises:
            DataError: not allowed, or not installed.
        """
        try:
            self._allow(place)
        except Refused as error:
            raise DataError(error.message) from error
        return self._system(urlsplit(place).scheme)

    def _system(self, scheme: str) -> Any:
        import fsspec

        if scheme not in self._systems:
            options: dict[str, Any] = {}
            if scheme in ("http", "https"):
                # Given to each request. A redirect could lead to a host that is not allowed.
                options = {"allow_redirects": False, "timeout": self.places.seconds}
            try:
                self._systems[scheme] = fsspec.filesystem(scheme, **options)
            except (ImportError, ValueError) as error:
                raise DataError(f"no access to {scheme}:// ({error}); install the file system that it names") from error
        return self._systems[scheme]

    def _allow(self, place: str) -> None:
        try:
            parts = urlsplit(place)
            host = (parts.hostname or "").lower()
        except ValueError as error:
            raise Refused("uri_invalid", f"{place!r}: {error}") from error
        allowed = parts.scheme in self.places.schemes and any(_matches(host, one) for one in self.places.hosts)
        if not allowed or "::" in place or "@" in parts.netloc:
            raise Refused(
                "uri_not_allowed",
                f"{place!r} may not be fetched: places.schemes allows {list(self.places.schemes) or 'none'}, "
                f"places.hosts {list(self.places.hosts) or 'none'}",
            )

    def _remote(self, place: str, most: int) -> Fetched:
        system = self._system(urlsplit(place).scheme)
        with self._stream(system, place) as file:
            look = _look_of(file, system, place)
            data = bytes(file.read(most + 1))
        if len(data) > most:
            raise Refused("too_large", f"{place!r} has more than the {most} bytes that are accepted", look)
        return Fetched(data, look)

    def _from_host(self, place: str, most: int) -> Fetched:
        """Fetch a remote medium, and note whether its host gave it."""
        self._system(urlsplit(place).scheme)  # one that is not installed is no fault of the row
        try:
            found = self._retrying(place, lambda: self._remote(place, most))
        except Refused as refused:
            if refused.reason == "too_large":
                self.hosts.gave(place)
            else:
                self.hosts.failed(place, refused.__cause__ if isinstance(refused.__cause__, Exception) else refused)
            raise
        self.hosts.gave(place)
        return found

    def _touched(self, place: str) -> None:
        """See that a place can be read."""
        with self._stream(self._system(urlsplit(place).scheme), place) as file:
            file.read(1)

    def _remote_look(self, place: str) -> str:
        system = self._system(urlsplit(place).scheme)
        if not place.startswith("http"):
            return remote_look(system.info(place))
        with self._stream(system, place) as file:  # of its body nothing is read
            return _look_of(file, system, place)

    @contextmanager
    def _stream(self, system: Any, place: str) -> Iterator[Any]:
        # Without blocks an HTTP body is a stream, of which no more is read than asked for. A size, whichever, saves the
        # question for it, which takes every failure for a missing file.
        options = {"block_size": 0, "size": 1} if place.startswith("http") else {}
        with system.open(place, "rb", **options) as file:
            response = getattr(file, "r", None)
            if response is not None and response.status >= 300:
                raise Refused(
                    "fetch_failed", f"{place!r} answers {response.status}; redirects are not followed: give the target"
                )
            yield file

    def _retrying(self, place: str, fetch: Callable[[], T]) -> T:
        try:
            return attempted(self.places.retries, fetch, (Refused, UnreachableError, *PERMANENT))
        except (Refused, UnreachableError):
            raise
        except PERMANENT as error:
            raise Refused("path_missing", f"{place!r} cannot be opened: {error}", ABSENT) from error
        except Exception as error:
            said = f"{place!r}: {type(error).__name__} {error}; {self.places.retries + 1} attempts"
            raise Refused("fetch_failed", said) from error

    def _confined(self, place: str) -> Path:
        try:
            path = local_path(place).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long
            raise Refused("path_invalid", f"{place!r} cannot be followed: {error}") from error
        if not any(path.is_relative_to(root) for root in self.roots):
            raise Refused(
                "path_outside_root",
                f"{place!r} lies outside {', '.join(map(str, self.roots)) or 'every root'}: "
                "add its directory to places.roots if it may be read",
            )
        return path


def _look_at(place: str) -> str:
    try:
        return local_look(local_path(place))
    except ValueError:  # no URI
        return ABSENT


def _look_of(file: Any, system: Any, place: str) -> str:
    """Look of a remote file that has been opened, which has asked for most of it already."""
    response = getattr(file, "r", None)
    return remote_look(
        response.headers if response is not None else getattr(file, "details", None) or system.info(place)
    )


def stored(access: Access, value: Stored, most: int) -> bytes:
    """Bytes of a medium that lies in a file of the source.

    Raises:
        Refused: it is gone or has more than ``most``.
    """
    size = value.size
    if size is not None and size > most:
        raise Refused("too_large", f"{value.place} has {size} bytes; at most {most} are accepted")
    if value.data is not None:
        return value.data
    place = value.place
    if "offset" in place:
        return access.read_range(place["file"], int(place["offset"]), int(place["size"]), place.get("packed"))
    if "column" in place:
        from data.importing.readers.cells import cell

        return _within(cell(access, place), str(place), most)
    raise Refused("media_unreachable", f"{place} does not say where the medium is; give its path instead")


def _local(path: Path, place: str, most: int) -> bytes:
    try:
        if not path.is_file():
            raise Refused("path_missing", f"{place!r} is no file")
        with path.open("rb") as file:
            return _within(file.read(most + 1), place, most)
    except OSError as error:
        raise Refused("path_missing", f"{place!r} cannot be read: {error}") from error


def _within(data: bytes, place: str, most: int) -> bytes:
    if len(data) > most:
        raise Refused("too_large", f"{place!r} has more than the {most} bytes that are accepted")
    return data


def _inline(value: str, most: int) -> bytes:
    header, comma, body = value.partition(",")
    if not comma or not header.endswith(";base64"):
        raise Refused("uri_not_allowed", f"{value[:40]!r}: of data URIs only base64 is read")
    if len(body) * 3 // 4 > most + 2:
        raise Refused("too_large", f"a data URI of {len(body)} characters; at most {most} bytes are accepted")
    try:
        return _within(base64.b64decode(body, validate=True), value[:40], most)
    except binascii.Error as error:
        raise Refused("uri_invalid", f"{value[:40]!r}: {error}") from error


def _matches(host: str, pattern: str) -> bool:
    pattern = pattern.lower()
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern

"""API keys: a file of digests with names, scopes and limits; the keys themselves are stored nowhere."""

import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from model.config import Config
from model.errors import ConfigError

Scope = Literal["embed", "models", "metrics"]
PREFIX = "omnivec-"
SECRET_BYTES = 32
RELOAD_SECONDS = 5.0


class ApiKey(Config):
    """One key. A key of 256 random bits needs no slow digest: there is nothing to guess.

    Attributes:
        name: stands in the log; never the key.
        sha256: digest of the key in hex.
        scopes: ``embed`` (every route that makes vectors), ``models`` (descriptions), ``metrics``.
        requests_per_minute: more answer 429; a minute's worth may come at once.
        items_in_flight: items of this key inside the service at a time; more answer 429.
    """

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(default=("embed", "models"), min_length=1)
    requests_per_minute: int | None = Field(default=None, gt=0)
    items_in_flight: int | None = Field(default=None, gt=0)


class KeysFile(Config):
    """The document of a keys file."""

    keys: tuple[ApiKey, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for field in ("name", "sha256"):
            values = [getattr(key, field) for key in self.keys]
            if twice := sorted({value for value in values if values.count(value) > 1}):
                raise ValueError(f"two keys have the {field} {twice[0]!r}; each needs its own")
        return self


def digest_of(key: str) -> str:
    """What the file holds in place of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key() -> str:
    """A fresh key."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


class KeyRing:
    """The keys of a file, which is read again when it changes, so that keys rotate without a restart.

    A change that cannot be read is reported once and the keys before it stay in force.

    Args:
        path: the file.
        report: told why a changed file was not taken.

    Raises:
        ConfigError: the file cannot be read at first.
    """

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self._path = path
        self._report = report
        self._stamp = self._stamped()
        self._by_digest = self._read()
        self._looked = time.monotonic()

    def find(self, key: str) -> ApiKey | None:
        """The entry of a key that was sent; looked up by digest, so that the time tells nothing about other keys."""
        self._refresh()
        return self._by_digest.get(digest_of(key))

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked < RELOAD_SECONDS:
            return
        self._looked = now
        try:
            stamp = self._stamped()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._by_digest = self._read()
        except ConfigError as error:
            self._report(str(error))

    def _stamped(self) -> tuple[int, int]:
        try:
            facts = self._path.stat()
        except OSError as error:
            raise ConfigError(f"keys file {self._path} cannot be read: {error.strerror}; {_WAY_OUT}") from error
        return facts.st_mtime_ns, facts.st_ino

    def _read(self) -> dict[str, ApiKey]:
        try:
            document = KeysFile.parse(self._path)
        except OSError as error:
            raise ConfigError(f"keys file {self._path} cannot be read: {error.strerror}; {_WAY_OUT}") from error
        return {key.sha256: key for key in document.keys}


_WAY_OUT = "`omnivec keys add NAME --file FILE` makes one"

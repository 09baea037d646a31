"""Fetching media that a request names by URL: off by default, and then only from hosts on a list.

A caller's URL is an attempt to make this process speak to something that the caller cannot reach. So the host must be
on the operator's list, its addresses must be public, the connection goes to the very address that was checked (a name
that changes its address meanwhile gains nothing), every redirect is checked like a first request, and bytes and time
are limited while they come. Nothing of the caller's headers goes along.
"""

import ipaddress
import socket
import time
from collections.abc import Callable, Sequence
from urllib.parse import urljoin, urlsplit

import httpx
from pydantic import Field

from model.config import Config
from model.errors import ContentError

REDIRECTS = frozenset({301, 302, 303, 307, 308})
PORTS = {"https": 443, "http": 80}
Resolve = Callable[[str, int], Sequence[str]]


class FetchConfig(Config):
    """What may be fetched.

    Attributes:
        hosts: exact names, or ``*.example.org`` for all names below one.
        schemes: of URLs; plain http can be read and changed on its way.
        ports: that may be spoken to.
        seconds: for one medium, redirects included.
        redirects: that are followed.
        private: also fetch from addresses that are not public, such as a store in the same cluster.
    """

    hosts: tuple[str, ...] = Field(min_length=1)
    schemes: tuple[str, ...] = ("https",)
    ports: tuple[int, ...] = (443,)
    seconds: float = Field(default=5.0, gt=0)
    redirects: int = Field(default=2, ge=0)
    private: bool = False


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a host."""
    return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})


class Fetcher:
    """Fetches what its configuration allows. Thread-safe.

    Args:
        config: the lists and limits.
        resolve: addresses of a host; replaced in tests.
        verify: as of httpx.
    """

    def __init__(self, config: FetchConfig, *, resolve: Resolve = resolve, verify: bool = True) -> None:
        self._config = config
        self._resolve = resolve
        self._http = httpx.Client(verify=verify, trust_env=False, follow_redirects=False)

    def __call__(self, url: str, most: int) -> bytes:
        """Bytes of a URL.

        Args:
            url: as the caller gave it.
            most: bytes that are accepted.

        Raises:
            ContentError: ``remote_url_refused`` when it may not be fetched, ``remote_url_failed`` when it could not be.
        """
        deadline = time.monotonic() + self._config.seconds
        try:
            for _ in range(self._config.redirects + 1):
                answer = self._once(url, most, deadline)
                if isinstance(answer, bytes):
                    return answer
                url = urljoin(url, answer)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _failed(f"{type(error).__name__}") from error
        raise _failed(f"more than {self._config.redirects} redirects")

    def close(self) -> None:
        """Close idle connections."""
        self._http.close()

    def _once(self, url: str, most: int, deadline: float) -> bytes | str:
        """The bytes, or where a redirect leads."""
        scheme, host, port = self._allowed(url)
        address = self._address(host, port)
        target = httpx.URL(url).copy_with(host=address, username=None, password=None, fragment=None)
        named = host if port == PORTS[scheme] else f"{host}:{port}"
        with self._http.stream(
            "GET",
            target,
            headers={"Host": named, "Accept-Encoding": "identity", "User-Agent": "omnivec"},
            extensions={"sni_hostname": host},
            timeout=_left(deadline),
        ) as response:
            if response.status_code in REDIRECTS:
                return str(response.headers.get("location", ""))
            if response.status_code != 200:
                raise _failed(f"the host answered {response.status_code}")
            return _read(response, most, deadline)

    def _allowed(self, url: str) -> tuple[str, str, int]:
        """Scheme, host and port of a URL that may be fetched."""
        try:
            parts = urlsplit(url)
            host, scheme = (parts.hostname or "").lower().rstrip("."), parts.scheme.lower()
            port = parts.port or PORTS.get(scheme, 0)
        except ValueError:
            raise _refused("it is malformed") from None
        if scheme not in self._config.schemes or scheme not in PORTS:
            raise _refused(f"its scheme is not one of {', '.join(self._config.schemes)}")
        if port not in self._config.ports:
            raise _refused(f"its port is not one of {', '.join(map(str, self._config.ports))}")
        if "@" in parts.netloc:
            raise _refused("it holds a user name")
        if not any(_matches(host, pattern) for pattern in self._config.hosts):
            raise _refused("its host is not on the list of this service")
        return scheme, host, port

    def _address(self, host: str, port: int) -> str:
        """The address to connect to; all addresses of the host must be allowed, or it could be steered between them."""
        addresses = self._resolve(host, port)
        if not addresses:
            raise _failed("its host has no address")
        if not self._config.private and not all(_is_public(address) for address in addresses):
            raise _refused("its host has an address that is not public")
        return addresses[0]


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        found = inner or found
    return found.is_global and not found.is_multicast


def _matches(host: str, pattern: str) -> bool:
    pattern = pattern.lower()
    return host.endswith(pattern[1:]) and host != pattern[2:] if pattern.startswith("*.") else host == pattern


def _read(response: httpx.Response, most: int, deadline: float) -> bytes:
    declared = response.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    body = bytearray()
    for chunk in response.iter_raw():  # as it comes, so that the deadline is seen between drops too
        body += chunk
        if len(body) > most:
            raise _too_large(most)
        _left(deadline)
    return bytes(body)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _failed("it took too long")
    return left


def _refused(why: str) -> ContentError:
    return ContentError(
        f"this URL may not be fetched: {why}; send the bytes as data:<type>;base64,<...>", code="remote_url_refused"
    )


def _failed(why: str) -> ContentError:
    return ContentError(f"this URL could not be fetched: {why}", code="remote_url_failed")


def _too_large(most: int) -> ContentError:
    return ContentError(f"this URL has more than {most} bytes", code="media_too_large", limit="max_media_bytes")

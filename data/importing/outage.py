"""Whether a host is away, or only some of its files are: the first must not put the rest of a corpus in quarantine.

A fetch that fails says nothing of its host. When so many in a row do, and before rows are refused for those at the end
of a piece, a place that the host gave before is asked for again. Is it given, the failures are those of the files; else
the import ends, and goes on later. Of a host that has given nothing yet only failures without an answer count.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from data.importing.refusal import Refused
from data.importing.steady import PERMANENT, UnreachableError

IN_A_ROW = 10
HELD = 4096
# Answers of HTTP that say "later"; the others from 400 to 499 are about the one file.
LATER = (408, 425, 429)


@dataclass
class _Host:
    """What one host did last.

    Attributes:
        good: a place that it gave.
        failed: fetches that failed since.
        unanswered: those at the end of them for which it had no answer that would stay.
    """

    good: str | None = None
    failed: int = 0
    unanswered: int = 0


class Hosts:
    """The hosts that the rows of an import point to; the last ``HELD`` of them.

    Args:
        ask: opens a place and reads from it, trying again as every fetch does; raises what it ends in.
    """

    def __init__(self, ask: Callable[[str], object]) -> None:
        self._ask = ask
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def gave(self, place: str) -> None:
        """A place was fetched."""
        host = self._host(place)
        host.good, host.failed, host.unanswered = place, 0, 0

    def failed(self, place: str, error: Exception) -> None:
        """A place could not be fetched.

        Raises:
            UnreachableError: nor can others of its host.
        """
        host = self._host(place)
        host.failed += 1
        host.unanswered = host.unanswered + 1 if unanswered(error) else 0
        if host.good is not None and host.failed >= IN_A_ROW:
            self._prove(host, f"{place}: {type(error).__name__} {error}")
        elif host.unanswered >= IN_A_ROW:
            name = _name(place)
            raise UnreachableError(
                f"{name} did not give any of {host.unanswered} files, the last of them {place} ({type(error).__name__} "
                f"{error}). No row is refused for that: once it can be reached, the same command goes on where it was. "
                f"If it never will be, take {name} out of places.hosts and give --fresh: then its rows are quarantined"
            )

    def settle(self) -> bool:
        """Before the rows of a piece are refused for good: whether each host that failed last is known to be there.

        Raises:
            UnreachableError: one that was is so no longer.
        """
        for name, host in self._hosts.items():
            if host.failed and host.good is not None:
                self._prove(host, f"{host.failed} fetches from {name}")
        return not any(host.unanswered for host in self._hosts.values())

    def _prove(self, host: _Host, what: str) -> None:
        assert host.good is not None
        try:
            self._ask(host.good)
        except Exception as error:
            raise UnreachableError(
                f"{what} failed, and {host.good}, which was read before, cannot be read any more either "
                f"({type(error).__name__} {error}). No row is refused for that: once it can be, the same command goes "
                "on where it was"
            ) from error
        host.failed = host.unanswered = 0

    def _host(self, place: str) -> _Host:
        name = _name(place)
        host = self._hosts.setdefault(name, _Host())
        self._hosts.move_to_end(name)
        if len(self._hosts) > HELD:
            self._hosts.popitem(last=False)
        return host


def unanswered(error: Exception) -> bool:
    """Whether a failure may be that of a host, rather than what it says of one file."""
    status = getattr(error, "status", getattr(error, "code", None))
    answer = isinstance(status, int) and 400 <= status < 500 and status not in LATER
    return not answer and not isinstance(error, (Refused, *PERMANENT))


def _name(place: str) -> str:
    return urlsplit(place).netloc.lower()

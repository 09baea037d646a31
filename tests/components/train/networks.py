"""Two hosts on one machine: network namespaces with a cable between, so that what nodes say crosses a network."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

ADDRESS = "10.77.0.{number}"
CABLE = "cable"
RATE = "200mbit"  # thin, so that the steps of a tiny model take long enough to be caught in the middle


@dataclass(frozen=True)
class Host:
    """A network namespace and the one address that the other host reaches."""

    name: str
    address: str

    def command(self, *command: str) -> list[str]:
        """What runs ``command`` on this host."""
        return ["ip", "netns", "exec", self.name, *command]

    def lose_power(self) -> None:
        """End all that runs on the host."""
        listed = subprocess.run(["ip", "netns", "pids", self.name], check=False, capture_output=True, text=True)
        for pid in map(int, listed.stdout.split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def sent(self) -> int:
        """Bytes that left the host."""
        read = self.command("cat", f"/sys/class/net/{CABLE}/statistics/tx_bytes")
        return int(subprocess.run(read, check=True, capture_output=True, text=True).stdout)


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Make two hosts; skips where namespaces cannot be made."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    one, two = (Host(f"omnivec-{os.getpid()}-{i}", ADDRESS.format(number=i)) for i in (1, 2))
    try:
        for host in (one, two):
            done = subprocess.run(["ip", "netns", "add", host.name], check=False, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no network namespace: {done.stderr.strip()}")
        _ip("link", "add", CABLE, "netns", one.name, "type", "veth", "peer", "name", CABLE, "netns", two.name)
        for host in (one, two):
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", CABLE)
            for link in ("lo", CABLE):
                _ip("-n", host.name, "link", "set", link, "up")
            thin = ("tc", "qdisc", "add", "dev", CABLE, "root", "tbf", "rate", RATE, "burst", "16kb", "latency", "2s")
            subprocess.run(host.command(*thin), check=True)
        yield one, two
    finally:
        for host in (one, two):
            host.lose_power()
            subprocess.run(["ip", "netns", "delete", host.name], check=False, capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)

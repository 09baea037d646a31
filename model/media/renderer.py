"""A process that stays and has a fork of itself draw each PDF: starting an interpreter for each took ten times as long.

What is confined is the fork (see ``pdf_worker``). It meets one file and ends, so that no file meets what another left
behind; the process that stays never reads one. It ends with the process that it works for.
"""

import atexit
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

SPARE_SECONDS = 10.0  # beyond those after which the fork is ended, in case nobody does that


class Done(NamedTuple):
    """How a fork ended (negative: by this signal), and what it had answered."""

    status: int
    answer: bytes


class Renderer:
    """Client of one such process.

    Args:
        command: starts it; it gets the number of its end of a socket as last argument.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the caller, which may still want its answers
            )
        self._turn = threading.Lock()
        self._owner = os.getpid()
        atexit.register(self.close)

    @property
    def usable(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def ask(self, request: bytes, seconds: float) -> Done | None:
        """What a fork makes of a request; none when the process that stays is gone. Threads may ask at once.

        Raises:
            TimeoutError: there is no answer after ``seconds`` by the clock and some more.
        """
        ours, theirs = socket.socketpair()
        told, tell = os.pipe()
        with ours, os.fdopen(told, "rb") as ended:
            ours.settimeout(seconds + SPARE_SECONDS)
            try:
                with self._turn:
                    socket.send_fds(self._control, [b"1"], [theirs.fileno(), tell])
            except OSError:
                return None
            finally:
                theirs.close()
                os.close(tell)
            answer = _exchange(ours, request)
            status = ended.read()
        return Done(int(status), answer) if status else None

    def close(self) -> None:
        """Let the process end."""
        atexit.unregister(self.close)
        self._control.close()
        if self._owner == os.getpid():
            self._process.wait()


def _exchange(connection: socket.socket, request: bytes) -> bytes:
    """Send all, then read all; a fork that ends early has read, or answered, only a part."""
    parts = []
    try:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(2**20):
            parts.append(part)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return b"".join(parts)


class Shared:
    """The renderer of this process, started when it is first wanted and again when it is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Renderer | None = None
        os.register_at_fork(after_in_child=self._forked)

    def ask(self, command: Callable[[], Sequence[str]], request: bytes, seconds: float) -> Done | None:
        """As :meth:`Renderer.ask`, once more where the process that stays had gone since the last time."""
        return self._renderer(command).ask(request, seconds) or self._renderer(command).ask(request, seconds)

    def _renderer(self, command: Callable[[], Sequence[str]]) -> Renderer:
        with self._lock:
            if self._found is not None and not self._found.usable:
                self.forget()
            if self._found is None:
                self._found = Renderer(command())
            return self._found

    def forget(self) -> None:
        """Let go of a renderer that is gone or belongs to the process that this one was forked from."""
        found, self._found = self._found, None
        if found is not None:
            found.close()

    def _forked(self) -> None:
        self._lock = threading.Lock()  # a thread that is not here may have held it
        self.forget()


SHARED = Shared()

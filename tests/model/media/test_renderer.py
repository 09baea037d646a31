"""The process that stays and has forks draw documents: it outlives them, not its caller, and keeps answers apart."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from model.encoder import Limits
from model.errors import ContentError
from model.media import document, renderer
from model.media.document import decode_document
from model.media.renderer import Done, Renderer, Shared
from tests.conftest import make_pdf
from tests.processes import gone

LIMITS = Limits()
# In place of the worker: its forks do what the request says.
OBEDIENT = """
import os, signal, sys, time
sys.path.insert(0, {worker!r})
import pdf_worker
def answer(connection):
    order = connection.makefile("rb").read()
    pdf_worker.confine(5, 1 if order == b"sleep" else 60, 2**33)
    if order == b"die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if order == b"sleep":
        time.sleep(60)
    if order == b"end":
        os.kill(os.getppid(), signal.SIGKILL)
    connection.sendall(b" ".join([str(os.getpid()).encode(), order, ",".join(os.listdir("/proc/self/fd")).encode()]))
pdf_worker.answer = answer
pdf_worker.main()
"""


def command() -> list[str]:
    return [sys.executable, "-c", OBEDIENT.format(worker=str(document.WORKER.parent))]


@pytest.fixture
def stays() -> Iterator[Renderer]:
    made = Renderer(command())
    yield made
    made.close()


def test_each_request_has_a_process_of_its_own_that_holds_nothing_else(stays: Renderer) -> None:
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda n: stays.ask(b"%d" % n, 30), range(24)))
    answers = [done.answer.split() for done in found if done is not None]
    assert [done.status for done in found if done is not None] == [0] * 24
    assert [int(order) for _, order, _ in answers] == list(range(24)), "nobody gets the answer of another"
    assert len({pid for pid, _, _ in answers}) == 24
    # the connection, the duplicate that a socket object closes later, and the directory that is being listed
    assert all(len(held.split(b",")) <= 3 for _, _, held in answers), answers[0]


def test_how_a_fork_ended_is_told(stays: Renderer) -> None:
    assert stays.ask(b"die", 30) == Done(-signal.SIGSEGV, b"")
    assert stays.ask(b"sleep", 30) == Done(-signal.SIGALRM, b"")
    again = stays.ask(b"well", 30)
    assert again is not None
    assert again.status == 0


def test_a_process_that_is_gone_is_started_again() -> None:
    shared = Shared()
    first = shared.ask(command, b"a", 30)
    assert first is not None
    process = shared._found._process  # type: ignore[union-attr]
    process.kill()
    process.wait()
    second = shared.ask(command, b"b", 30)
    assert second is not None
    assert second.answer.split()[1] == b"b"
    assert shared.ask(command, b"end", 30) is None, "whoever ends it twice gets no third"
    shared.forget()


def test_no_answer_in_time_is_an_error(stays: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer, "SPARE_SECONDS", 0.0)
    with pytest.raises(TimeoutError):
        stays.ask(b"sleep", 0.3)


@pytest.mark.parametrize("done", [None, Done(-signal.SIGSEGV, b""), Done(1, b""), Done(0, b"")])
def test_a_renderer_that_dies_is_a_bad_document(
    pdf_bytes: bytes, monkeypatch: pytest.MonkeyPatch, done: Done | None
) -> None:
    monkeypatch.setattr(document.SHARED, "ask", lambda *_: done)
    with pytest.raises(ContentError) as caught:
        decode_document(pdf_bytes, LIMITS, size=32, text=True)
    assert caught.value.code == "document_undecodable"


def test_over_time_is_too_complex(pdf_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for status in (-signal.SIGXCPU, -signal.SIGALRM, -signal.SIGKILL):
        monkeypatch.setattr(document.SHARED, "ask", lambda *_, status=status: Done(status, b""))
        with pytest.raises(ContentError) as caught:
            decode_document(pdf_bytes, LIMITS, size=32, text=True)
        assert (caught.value.code, caught.value.limit) == ("document_too_complex", "max_document_seconds")


def test_threads_and_a_forked_process_get_their_own_pages() -> None:
    files = [make_pdf(f"page {n}") for n in range(4)]
    want = [decode_document(data, LIMITS, size=48, text=True) for data in files]

    def same(n: int) -> bool:
        found = decode_document(files[n % 4], LIMITS, size=48, text=True)
        assert [page.text for page in found] == [f"page {n % 4}"]
        return bool((np.asarray(found[0].pixels_SS3) == np.asarray(want[n % 4][0].pixels_SS3)).all())

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(same, range(16)))
    child = os.fork()
    if not child:
        os._exit(0 if same(2) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert same(3), "and the renderer of the parent goes on"


def test_it_ends_with_its_caller(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, sys
        from model.encoder import Limits
        from model.media.document import SHARED, decode_document
        decode_document(open(sys.argv[1], "rb").read(), Limits(), size=16, text=False)
        print(SHARED._found._process.pid, flush=True)
        os.kill(os.getpid(), 9) if sys.argv[2] == "killed" else None
        """
    )
    file = tmp_path / "a.pdf"
    file.write_bytes(make_pdf("a"))
    for how in ("killed", "well"):
        done = subprocess.run(
            [sys.executable, "-c", script, str(file), how], capture_output=True, text=True, check=False
        )
        assert gone(int(done.stdout)), done.stderr

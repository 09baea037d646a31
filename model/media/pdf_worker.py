"""Runs PDFium on hostile files, each in a process of its own: a script, started by ``model.media.document``.

PDFium is C++ fed with untrusted bytes, keeps global state, and unpacks streams that no header announces. Here it may
crash, swallow memory or spin: the process ends, and the parent says so.

The script imports PDFium once and then serves a socket whose number is its argument (``model.media.renderer``). For
each request it gets two descriptors: a connection, which a fork reads and answers, and a pipe, which is told how the
fork ended. Over the connection comes one line of JSON (``pages``, ``pixels``, ``seconds``, ``wait``, ``memory``,
``size``, ``text``), then the file; back go one line of JSON and the pixels of the pages one after another.
"""

import json
import math
import os
import resource
import select
import signal
import socket
import sys
from typing import Any, NoReturn

import pypdfium2
from pypdfium2 import raw

MAX_SIDE = 14_400.0  # points: the largest page of PDF 1.7, annex C
MAX_TEXT_CHARS = 20_000  # a page; far more than any text limit lets through
NESTED = 8  # forms within forms that are searched for pictures


class RefusedError(Exception):
    """A reason in the form (code, limit, message)."""


def refuse(code: str, limit: str | None, message: str) -> NoReturn:
    """End with a reason for the caller."""
    raise RefusedError(code, limit, message)


def confine(seconds: float, wait: float, memory: int) -> None:
    """Let the operating system end this process when it takes too much: processor time, time by the clock, memory."""
    signal.setitimer(signal.ITIMER_REAL, wait)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    whole = math.ceil(seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 1))


def opened(data: bytes, limit: int) -> pypdfium2.PdfDocument:
    """The document, after checking how many pages it has."""
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code in {raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY}:
            refuse("document_encrypted", None, "the PDF needs a password: send it without encryption")
        refuse("document_undecodable", None, f"the PDF cannot be opened: {error}; save it anew")
    pages = len(document)
    if pages > limit:
        refuse(
            "document_too_long",
            "max_document_pages",
            f"the PDF has {pages} pages; at most {limit} are accepted: send it in pieces",
        )
    if pages == 0:
        refuse("document_empty", None, "the PDF has no pages")
    return document


def check_page(page: pypdfium2.PdfPage, number: int, pixels: int) -> None:
    """Refuse impossible sizes and huge pictures; neither is drawn yet."""
    width, height = page.get_size()
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):  # also refuses what is not a number
        refuse(
            "document_too_large",
            None,
            f"page {number} measures {width:g} x {height:g} points; sides up to {MAX_SIDE:g} are accepted",
        )
    total = 0
    for picture in page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE,), max_depth=NESTED):
        across, down = picture.get_px_size()
        total += across * down
    if total > pixels:
        refuse(
            "document_too_large",
            "max_image_pixels",
            f"the pictures on page {number} have {total} pixels; at most {pixels} a page are accepted: scale them down",
        )


def drawn(page: pypdfium2.PdfPage, size: int) -> tuple[dict[str, int], bytes]:
    """The page in RGB over white, its longer side ``size`` pixels."""
    bitmap = page.render(scale=size / max(page.get_size()), rev_byteorder=True, prefer_bgrx=False)
    shape = {"width": bitmap.width, "height": bitmap.height, "stride": bitmap.stride, "channels": bitmap.n_channels}
    return shape, bytes(bitmap.buffer)


def written(page: pypdfium2.PdfPage) -> str:
    """The text layer with single spaces."""
    layer = page.get_textpage()
    count = min(layer.count_chars(), MAX_TEXT_CHARS)
    return " ".join(layer.get_text_range(0, count, errors="ignore").split()) if count > 0 else ""


def work(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Pages of one file: what to say of them, and their pixels."""
    document = opened(data, request["pages"])
    pages, bitmaps = [], []
    for index in range(len(document)):
        page = document[index]
        check_page(page, index + 1, request["pixels"])
        found: dict[str, Any] = {"text": written(page) if request["text"] else ""}
        if request["size"]:
            shape, pixels = drawn(page, request["size"])
            found |= shape
            bitmaps.append(pixels)
        pages.append(found)
        page.close()
    return {"pages": pages}, bitmaps


def answer(connection: socket.socket) -> None:
    """Answer one request."""
    with connection.makefile("rwb") as stream:
        request = json.loads(stream.readline())
        confine(request["seconds"], request["wait"], request["memory"])
        bitmaps: list[bytes] = []
        try:
            said, bitmaps = work(request, stream.read())
        except RefusedError as error:
            code, limit, message = error.args
            said = {"code": code, "limit": limit, "message": message}
        except MemoryError:
            said = {
                "code": "document_too_complex",
                "limit": "max_document_memory",
                "message": "the PDF needs more memory",
            }
        except (pypdfium2.PdfiumError, ValueError, OverflowError) as error:
            said = {"code": "document_undecodable", "limit": None, "message": f"the PDF cannot be drawn: {error}"}
        stream.write(json.dumps(said).encode() + b"\n" + b"".join(bitmaps))


def fork(connection: int, others: int) -> int:
    """Have a process of its own answer, which holds nothing else of what is open, up to ``others``; its number."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        os.dup2(connection, 0)
        os.closerange(1, others + 1)
        answer(socket.socket(fileno=0))
        status = 0
    finally:
        os._exit(status)


def reap(ends: dict[int, int]) -> None:
    """Tell how forks ended to those who wait for them."""
    while ends:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        end = ends.pop(child)
        os.write(end, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(end)


def main() -> None:
    """Serve until the caller is gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    ends: dict[int, int] = {}  # by fork
    while True:
        ready, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            reap(ends)
        if control.fileno() in ready:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 2)
            if not descriptors:
                return
            connection, end = descriptors
            others = max(control.fileno(), woken, wake, connection, end, *ends.values())
            ends[fork(connection, others)] = end
            os.close(connection)


if __name__ == "__main__":
    main()

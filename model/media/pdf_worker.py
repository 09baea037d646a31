"""Runs PDFium on one hostile file in a process of its own: a script, started by ``model.media.document``.

PDFium is C++ fed with untrusted bytes, keeps global state, and unpacks streams that no header announces. Here it may
crash, swallow memory or spin: the process ends, and the parent says so. Input on stdin: one line of JSON (``pages``,
``pixels``, ``seconds``, ``memory``, ``size``, ``text``), then the file. Output on stdout: one line of JSON, then the
pixels of the pages one after another.
"""

import json
import math
import resource
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


def confine(seconds: float, memory: int) -> None:
    """Let the operating system end this process when it takes too much."""
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


def main() -> None:
    """Answer one request."""
    stream = sys.stdin.buffer
    request = json.loads(stream.readline())
    data = stream.read()
    confine(request["seconds"], request["memory"])
    bitmaps: list[bytes] = []
    try:
        answer, bitmaps = work(request, data)
    except RefusedError as error:
        code, limit, message = error.args
        answer = {"code": code, "limit": limit, "message": message}
    except MemoryError:
        answer = {
            "code": "document_too_complex",
            "limit": "max_document_memory",
            "message": "the PDF needs more memory",
        }
    except (pypdfium2.PdfiumError, ValueError, OverflowError) as error:
        answer = {"code": "document_undecodable", "limit": None, "message": f"the PDF cannot be drawn: {error}"}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + b"".join(bitmaps))


if __name__ == "__main__":
    main()

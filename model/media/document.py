"""Documents: the pages of a PDF as square pictures, with the text layer when asked for.

Shape legend: S x S pixels of the square, 3 colours.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.content import Modality
from model.encoder import Limits
from model.errors import ContentError
from model.media.containers import check_container
from model.media.image import fit_square
from model.media.renderer import SHARED

WORKER = Path(__file__).with_name("pdf_worker.py")
WAIT_FACTOR = 6.0  # the limit is processor time; on a busy machine that takes longer by the clock
OVER_TIME = frozenset({-signal.SIGXCPU, -signal.SIGKILL, -signal.SIGALRM})


class Page(NamedTuple):
    """One page: pixels [S, S, 3] uint8 (``None`` when not asked for) and its text, empty without a text layer."""

    pixels_SS3: NDArray[np.uint8] | None
    text: str


def decode_document(data: bytes, limits: Limits, *, size: int | None, text: bool) -> list[Page]:
    """Render every page of a PDF into a white square, in a confined process of its own.

    Args:
        data: the file.
        limits: pages, pixels of the pictures on a page, processor time and memory are checked or enforced.
        size: side of the square in pixels, or ``None`` to draw nothing (counting needs the texts alone).
        text: whether to read the text layer.

    Raises:
        ContentError: ``document_unsupported``, ``document_truncated``, ``document_too_large``, ``document_too_long``,
            ``document_encrypted``, ``document_empty``, ``document_too_complex`` or ``document_undecodable``.
    """
    check_container(data, Modality.DOCUMENT, limits)
    request = {
        "pages": limits.max_document_pages,
        "pixels": limits.max_image_pixels,
        "seconds": limits.max_document_seconds,
        "wait": WAIT_FACTOR * limits.max_document_seconds,
        "memory": limits.max_document_memory,
        "size": size or 0,
        "text": text,
    }
    answer, pixels = _ask(request, data, limits)
    pages, at = [], 0
    for found in answer["pages"]:
        picture = None
        if size is not None:
            length = found["stride"] * found["height"]
            picture = _square(pixels[at : at + length], found, size)
            at += length
        pages.append(Page(picture, found["text"]))
    return pages


def worker_command() -> list[str]:
    """Start of the renderer; ``-I``: nothing in the environment or the working directory decides what is imported."""
    return [sys.executable, "-I", str(WORKER)]


def _ask(request: dict[str, Any], data: bytes, limits: Limits) -> tuple[dict[str, Any], bytes]:
    """Answer of the worker, and the pixels after it; its refusal or death as a ContentError."""
    try:
        done = SHARED.ask(worker_command, json.dumps(request).encode() + b"\n" + data, request["wait"])
    except TimeoutError:
        raise _too_complex(limits) from None
    if done is not None and done.status in OVER_TIME:
        raise _too_complex(limits)
    line, _, pixels = (done.answer if done else b"").partition(b"\n")
    if done is None or done.status != 0 or not line:
        raise ContentError(
            f"the PDF ({len(data)} bytes) made the renderer fail (status {done and done.status}), perhaps for want of "
            f"memory (max_document_memory={limits.max_document_memory}): save it anew or simplify it",
            code="document_undecodable",
        )
    answer: dict[str, Any] = json.loads(line)
    if "code" in answer:
        raise ContentError(answer["message"], code=answer["code"], limit=answer["limit"])
    return answer, pixels


def _too_complex(limits: Limits) -> ContentError:
    return ContentError(
        f"the PDF takes more than {limits.max_document_seconds:g} s to render: simplify it or send pictures",
        code="document_too_complex",
        limit="max_document_seconds",
    )


def _square(pixels: bytes, found: dict[str, Any], size: int) -> NDArray[np.uint8]:
    width, height, channels = found["width"], found["height"], found["channels"]
    rows = np.frombuffer(pixels, dtype=np.uint8).reshape(height, found["stride"])[:, : width * channels]
    picture = np.ascontiguousarray(rows.reshape(height, width, channels)[..., :3])
    return fit_square(Image.fromarray(picture), size)

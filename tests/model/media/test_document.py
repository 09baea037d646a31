import zlib

import numpy as np
import pytest

from model.encoder import Limits
from model.errors import ContentError
from model.media.document import decode_document
from tests.conftest import make_pdf, pdf_file

LIMITS = Limits()


def code_of(data: bytes, limits: Limits = LIMITS) -> tuple[str, str | None]:
    with pytest.raises(ContentError) as caught:
        decode_document(data, limits, size=32, text=True)
    return caught.value.code, caught.value.limit


def with_picture(side: int) -> bytes:
    """A page that shows one grey picture of ``side`` squared pixels, packed a thousandfold."""
    pixels = zlib.compress(bytes(min(side * side, 1_000_000)))
    picture = f"/Type /XObject /Subtype /Image /Width {side} /Height {side} /ColorSpace /DeviceGray"
    drawing = b"q 100 0 0 100 0 0 cm /Im Do Q"
    shown = b"<< /XObject << /Im 5 0 R >> >>"
    return pdf_file(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R /Resources %s >>" % shown,
            b"<< /Length %d >> stream\n%s\nendstream" % (len(drawing), drawing),
            f"<< {picture} /BitsPerComponent 8 /Filter /FlateDecode /Length {len(pixels)} >>".encode()
            + b" stream\n"
            + pixels
            + b"\nendstream",
        ]
    )


def test_pages_are_drawn_without_distortion_and_read(pdf_bytes: bytes) -> None:
    first, second = decode_document(pdf_bytes, LIMITS, size=96, text=True)
    assert (first.text, second.text) == ("Hello world", "Second page")
    assert first.pixels_SS3 is not None
    assert first.pixels_SS3.shape == (96, 96, 3)
    np.testing.assert_array_equal(first.pixels_SS3[48, 4], (255, 0, 0))  # the bar on the left
    np.testing.assert_array_equal(first.pixels_SS3[4, 4], (255, 255, 255))  # above a page of 3:2 is white
    assert (first.pixels_SS3 < 100).all(axis=2).any(), "the letters are missing"


def test_text_and_pixels_are_options(pdf_bytes: bytes) -> None:
    pages = decode_document(pdf_bytes, LIMITS, size=None, text=False)
    assert [(page.pixels_SS3, page.text) for page in pages] == [(None, ""), (None, "")]


def test_pages_are_limited() -> None:
    assert code_of(make_pdf(*"1234567")) == ("document_too_long", "max_document_pages")
    assert len(decode_document(make_pdf(*"123456"), LIMITS, size=16, text=False)) == 6


def test_huge_page_boxes_are_refused() -> None:
    assert code_of(make_pdf("a", box=(20_000, 100)))[0] == "document_too_large"
    assert code_of(make_pdf("a", box=(1e9, 1e9)))[0] == "document_too_large"


def test_pictures_on_a_page_are_limited_before_drawing() -> None:
    assert code_of(with_picture(20_000)) == ("document_too_large", "max_image_pixels")
    assert len(decode_document(with_picture(500), LIMITS, size=16, text=False)) == 1


def test_a_cut_file_is_refused_wherever_it_is_cut(pdf_bytes: bytes) -> None:
    for length in range(0, len(pdf_bytes) - 8, 100):
        assert code_of(pdf_bytes[:length])[0] in {"document_truncated", "document_unsupported"}


@pytest.mark.parametrize("junk", [b"", b'{"a": [1, 2', b"\x89PNG\r\n\x1a\n", b"%PDF-1.7 nothing\n%%EOF"])
def test_what_is_no_document_is_refused(junk: bytes) -> None:
    assert code_of(junk)[0] in {"document_unsupported", "document_undecodable"}


def test_time_and_memory_are_bounded(pdf_bytes: bytes) -> None:
    stream = zlib.compress(b"0 0 m 9 9 l S " * 8_000_000, 9)  # 112 MB of strokes in a little file
    bomb = pdf_file(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Contents 4 0 R >>",
            b"<< /Filter /FlateDecode /Length %d >> stream\n%s\nendstream" % (len(stream), stream),
        ]
    )
    code, _ = code_of(bomb, Limits(max_document_seconds=1.0, max_document_memory=400_000_000))
    assert code in {"document_too_complex", "document_undecodable"}
    assert code_of(pdf_bytes, Limits(max_document_memory=1))[0] in {"document_too_complex", "document_undecodable"}

"""Media that are small to send and large, endless or broken to open."""

import io
import struct
import zlib

import av
import numpy as np
import soundfile

from model.content import Content, Modality, Part
from serving.samples import MAKERS, mp4, pdf

HUGE = 50_000
"""Pixels of a side."""


def png_bomb(side: int = HUGE, *, honest: bool = False) -> bytes:
    """A PNG that claims ``side`` x ``side`` pixels; an honest one has them, a bit each and all zero."""
    rows = bytes((side // 8 + 1) * side) if honest else b"\0" * 64
    depth_and_colour = (1, 0) if honest else (8, 6)
    head = struct.pack(">IIBBBBB", side, side, *depth_and_colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def gif_bomb() -> bytes:
    """A GIF that claims 65535 x 65535 pixels and ten thousand frames."""
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\0\x02\x02\x4c\x01\0"
    return (
        b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame * 10_000 + b"\x3b"
    )


def flac_bomb(hours: float = 3.0) -> bytes:
    """Hours of silence."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(round(hours * 3600 * 8000), np.int16), 8000, format="FLAC")
    return buffer.getvalue()


def wav_liar() -> bytes:
    """A WAV whose head claims four gigabytes of sound."""
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        2**32 - 1,
        b"WAVE",
        b"fmt ",
        16,
        1,
        2,
        192_000,
        768_000,
        4,
        16,
        b"data",
        2**32 - 9,
    )
    return head + b"\0" * 4000


def mp4_liar() -> bytes:
    """A clip whose sample description claims 60000 x 60000 pixels."""
    data = bytearray(mp4())
    at = data.find(b"mp4v")  # box type, 6 reserved bytes, reference, 16 bytes, width, height
    while at != -1:
        data[at + 28 : at + 32] = struct.pack(">HH", 60_000, 60_000)
        at = data.find(b"mp4v", at + 1)
    return bytes(data)


def long_mp4(seconds: int = 1800) -> bytes:
    """Half an hour of the same small picture."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        picture = np.zeros((16, 16, 3), np.uint8)
        for _ in range(seconds):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def pdf_of(pages: int, *, box: int = 300, stream_bytes: int = 0) -> bytes:
    """A PDF of many pages, of pages as large as ``box`` points, or with a drawing that inflates."""
    drawing = zlib.compress(b"0 0 1 rg 0 0 9 9 re f\n" + b" " * stream_bytes, 9)
    kids = b" ".join(b"%d 0 R" % (4 + index) for index in range(pages))
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents 3 0 R >>" % (box, box)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [" + kids + b"] /Count %d >>" % pages,
        b"<< /Filter /FlateDecode /Length %d >> stream\n%s\nendstream" % (len(drawing), drawing),
        *[page] * pages,
    ]
    data, table = b"%PDF-1.7\n", b"0000000000 65535 f \n"
    pieces = [data]
    at = len(data)
    for number, body in enumerate(objects, 1):
        table += b"%010d 00000 n \n" % at
        pieces.append(b"%d 0 obj %s endobj\n" % (number, body))
        at += len(pieces[-1])
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, at)
    return b"".join(pieces) + b"xref\n0 %d\n" % (len(objects) + 1) + table + trailer


def hostile_media() -> dict[str, Part]:
    """Every bad medium by name."""
    found = {
        "png_liar": Part(Modality.IMAGE, data=png_bomb()),
        "png_bomb": Part(Modality.IMAGE, data=png_bomb(20_000, honest=True)),
        "gif_bomb": Part(Modality.IMAGE, data=gif_bomb()),
        "flac_bomb": Part(Modality.AUDIO, data=flac_bomb()),
        "wav_liar": Part(Modality.AUDIO, data=wav_liar()),
        "mp4_liar": Part(Modality.VIDEO, data=mp4_liar()),
        "mp4_long": Part(Modality.VIDEO, data=long_mp4()),
        "pdf_many_pages": Part(Modality.DOCUMENT, data=pdf_of(5000)),
        "pdf_large_page": Part(Modality.DOCUMENT, data=pdf_of(1, box=14_000_000)),
        "pdf_inflates": Part(Modality.DOCUMENT, data=pdf_of(1, stream_bytes=100_000_000)),
        "pdf_trailing": Part(Modality.DOCUMENT, data=pdf() + b"\0" * 1000),
    }
    for modality, make in MAKERS.items():
        data = make().data
        if data is not None:
            found[f"{modality.value}_truncated"] = Part(modality, data=data[: len(data) // 2])
            found[f"{modality.value}_noise"] = Part(modality, data=np.random.default_rng(0).bytes(4000))
            found[f"{modality.value}_as_text"] = Part(modality, data=b"hello " * 50)
    return found


def good_contents(modalities: frozenset[Modality], count: int, seed: int = 0) -> list[Content]:
    """Good contents of all kinds that a model takes, no two alike."""
    rng = np.random.default_rng(seed)
    words = [
        "a",
        "red",
        "fox",
        "jumps",
        "over",
        "the",
        "lazy",
        "dog",
        "near",
        "some",
        "very",
        "old",
        "wooden",
        "bridge",
        "in",
        "winter",
    ]
    media = [make() for modality, make in MAKERS.items() if modality in modalities and modality is not Modality.TEXT]
    found = []
    for index in range(count):
        text = Part(Modality.TEXT, text=f"{index} " + " ".join(rng.choice(words, size=rng.integers(2, 40))))
        with_media = media and index % 3 == 0
        found.append(Content((media[index // 3 % len(media)], text) if with_media else (text,)))
    return found

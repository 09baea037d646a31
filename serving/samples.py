"""One tiny valid sample per modality, made in memory: what warm-up embeds and what documentation shows."""

import io
import wave
from collections.abc import Callable, Sequence

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.content import Content, Modality, Part

SIDE = 64
SAMPLE_RATE = 16_000
FRAMES = 8


def _gradient(shift: int = 0) -> NDArray[np.uint8]:
    """Red grows to the right and green downwards: [height, width, 3]."""
    ramp = (np.arange(SIDE) * 4 + shift) % 256
    planes = [np.tile(ramp, (SIDE, 1)), np.tile(ramp[:, None], (1, SIDE)), np.full((SIDE, SIDE), 128)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def png() -> bytes:
    """A colour gradient, 64 x 64 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(_gradient()).save(buffer, format="PNG")
    return buffer.getvalue()


def wav(seconds: float = 1.0) -> bytes:
    """A 440 Hz tone, mono, 16 kHz, 16 bit."""
    time = np.arange(round(SAMPLE_RATE * seconds)) / SAMPLE_RATE
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.sin(2 * np.pi * 440 * time) * 8000).astype("<i2").tobytes())
    return buffer.getvalue()


def mp4() -> bytes:
    """A gradient that moves, 8 frames of 64 x 64 pixels at 4 a second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(_gradient(index * 16), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def pdf() -> bytes:
    """One page with a line of text and a bar, in the base font Helvetica."""
    drawing = b"1 0 0 rg 0 0 40 200 re f 0 g BT /F1 24 Tf 60 80 Td (Hello world) Tj ET"
    page = b"/Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 5 0 R /Resources << /Font << /F1 4 0 R >> >>"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< " + page + b" >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Length %d >> stream\n%s\nendstream" % (len(drawing), drawing),
    )
    data, table = b"%PDF-1.7\n", b"0000000000 65535 f \n"
    for number, body in enumerate(objects, 1):
        table += b"%010d 00000 n \n" % len(data)
        data += b"%d 0 obj %s endobj\n" % (number, body)
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(data))
    return data + b"xref\n0 %d\n" % (len(objects) + 1) + table + trailer


MAKERS: dict[Modality, Callable[[], Part]] = {
    Modality.TEXT: lambda: Part(Modality.TEXT, text="a short warm-up sentence"),
    Modality.IMAGE: lambda: Part(Modality.IMAGE, data=png()),
    Modality.AUDIO: lambda: Part(Modality.AUDIO, data=wav()),
    Modality.VIDEO: lambda: Part(Modality.VIDEO, data=mp4()),
    Modality.DOCUMENT: lambda: Part(Modality.DOCUMENT, data=pdf()),
}


def sample_contents(modalities: frozenset[Modality]) -> Sequence[Content]:
    """One content per modality that has a sample, and one that interleaves them all."""
    parts = [make() for modality, make in MAKERS.items() if modality in modalities]
    return [*(Content((part,)) for part in parts), Content(tuple(parts))]

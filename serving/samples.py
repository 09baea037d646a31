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


MAKERS: dict[Modality, Callable[[], Part]] = {
    Modality.TEXT: lambda: Part(Modality.TEXT, text="a short warm-up sentence"),
    Modality.IMAGE: lambda: Part(Modality.IMAGE, data=png()),
    Modality.AUDIO: lambda: Part(Modality.AUDIO, data=wav()),
    Modality.VIDEO: lambda: Part(Modality.VIDEO, data=mp4()),
}


def sample_contents(modalities: frozenset[Modality]) -> Sequence[Content]:
    """One content per modality that has a sample, and one that interleaves them all."""
    parts = [make() for modality, make in MAKERS.items() if modality in modalities]
    return [*(Content((part,)) for part in parts), Content(tuple(parts))]

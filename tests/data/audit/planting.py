"""Media that differ, and the same ones encoded, sized, cut and shifted anew."""

import io

import av
import numpy as np
import soundfile
from PIL import Image, ImageDraw, ImageEnhance

from tests.conftest import make_pdf

RATE = 16_000
COMMON = """
river stone lantern harbour violin copper meadow winter engine parcel orchard candle thunder mirror ladder garden
rocket pepper saddle anchor basket feather hammer island jacket kettle lemon marble needle oyster pillow
"""


def drawing(seed: int, side: int = 120) -> Image.Image:
    """A few coloured shapes."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), tuple(rng.integers(150, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, w, h = (rng.random(4) * side * np.array([0.8, 0.8, 0.6, 0.6])).tolist()
        colour = tuple(rng.integers(0, 256, 3).tolist())
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((x, y, x + w + 8, y + h + 8), fill=colour)
    return image


def encoded(image: Image.Image, form: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pictures(seed: int) -> dict[str, bytes]:
    """The same drawing in other files."""
    image = drawing(seed)
    return {
        "jpeg": encoded(image, "JPEG", quality=60),
        "webp": encoded(image, "WEBP", quality=60),
        "small": encoded(image.resize((64, 64), Image.Resampling.LANCZOS)),
        "large": encoded(image.resize((250, 250), Image.Resampling.BICUBIC)),
        "cropped": encoded(image.crop((2, 2, 118, 118))),
        "brighter": encoded(ImageEnhance.Brightness(image).enhance(1.08)),
    }


def melody(seed: int, seconds: float = 2.0) -> np.ndarray:
    """Notes with overtones, each fading."""
    rng = np.random.default_rng(seed)
    notes = []
    while sum(map(len, notes)) < seconds * RATE:
        time = np.arange(round(RATE * rng.uniform(0.12, 0.3))) / RATE
        pitch = 110 * 2 ** (rng.integers(0, 36) / 12)
        tone = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 2 + int(rng.integers(1, 6))))
        notes.append(tone * np.exp(-time * rng.uniform(2, 9)) * rng.uniform(0.3, 1))
    return (0.3 * np.concatenate(notes)[: round(seconds * RATE)]).astype(np.float32)


def sound(wave: np.ndarray, form: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, RATE, format=form, subtype=subtype)
    return buffer.getvalue()


def sounds(seed: int, seconds: float = 2.0) -> dict[str, bytes]:
    """The same melody in other files."""
    wave = melody(seed, seconds)
    return {
        "opus": sound(wave, "OGG", "OPUS"),
        "vorbis": sound(wave, "OGG", "VORBIS"),
        "quiet": sound(wave * 0.3, "OGG", "VORBIS"),
        "late": sound(np.concatenate([np.zeros(1200, np.float32), wave])),
        "cut": sound(wave[400:]),
    }


def frames(seed: int) -> list[Image.Image]:
    """A drawing that wanders over another."""
    ground, thing = drawing(1000 + seed, 96), drawing(seed, 40)
    rng = np.random.default_rng(seed)
    start, end = rng.integers(0, 56, 2), rng.integers(0, 56, 2)
    shown = []
    for place in np.linspace(0, 1, 12):
        frame = ground.copy()
        frame.paste(thing, tuple((start + (end - start) * place).round().astype(int).tolist()))
        shown.append(frame)
    return shown


def clip(seed: int, size: int = 96, bit_rate: int = 800_000) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = size, size, "yuv420p", bit_rate
        for frame in frames(seed):
            pixels = np.asarray(frame.resize((size, size), Image.Resampling.LANCZOS))
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


def clips(seed: int) -> dict[str, bytes]:
    """The same clip in other files."""
    return {"small": clip(seed, size=64), "poor": clip(seed, bit_rate=150_000)}


def sentence(seed: int, words: int = 24) -> str:
    rng = np.random.default_rng(seed)
    return " ".join(rng.choice(COMMON.split(), words)).capitalize() + "."


def texts(seed: int) -> dict[str, str]:
    """The same text with other typography, and with one word changed."""
    said = sentence(seed)
    words = said.split()
    words[11] = "xylophone"
    return {"loud": said.upper().replace(" ", "  "), "marked": said.replace(" ", ", ", 5), "word": " ".join(words)}


def document(seed: int) -> bytes:
    return make_pdf(*(sentence(100 * seed + page, 12) for page in range(2)))


def documents(seed: int) -> dict[str, bytes]:
    """The same pages saved anew."""
    said = [sentence(100 * seed + page, 12) for page in range(2)]
    return {"packed": make_pdf(*said, compress=True), "wide": make_pdf(*said, box=(330, 220))}

"""Media that are hard to tell apart, and near-copies that are hard to find: for the rates of the audit."""

import io
import random
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFont

from data.access import MediaAccess
from data.shards import read_records
from model.encoder import Limits
from model.media.audio import decode_audio
from tests.conftest import pdf_of_pages
from tests.data.audit.planting import COMMON, sound

STARTER = Path(__file__).parents[3] / "data" / "starter"
A4, LETTER = (595.0, 842.0), (612.0, 792.0)
INCHES = (8.27, 11.69)
Wave = NDArray[np.float32]


def starter_media(shard: str, modality: str, count: int | None = None) -> dict[str, bytes]:
    """Distinct media of a shard of the starter corpus, by digest; the same ones every time."""
    records = read_records(STARTER / f"{shard}.parquet")
    contents = (content for record in records for content in (record.query, *record.positives))
    parts = (part for content in contents for part in content)
    digests = sorted({part.media for part in parts if part.media is not None and part.modality.value == modality})
    access = MediaAccess()
    return {digest: access(STARTER / f"{shard}.parquet", digest) for digest in digests[:count]}


def passages() -> list[str]:
    """Paragraphs of English in a random order."""
    shards = ("libreoffice-help", "python-stdlib")
    records = (record for shard in shards for record in read_records(STARTER / f"{shard}.parquet"))
    parts = (part for record in records for content in record.positives for part in content)
    texts = sorted({" ".join(p.text.split()) for p in parts if p.text and len(p.text) > 200 and p.text.isascii()})
    random.Random(0).shuffle(texts)
    return texts


def page_texts(count: int, characters: int = 3600) -> list[str]:
    """Pages full of text, of which no two share a paragraph, as long as there are enough."""
    texts = iter(passages() * 20)
    pages = []
    for _ in range(count):
        page = ""
        while len(page) < characters:
            page += next(texts) + " "
        pages.append(page[:characters])
    return pages


def altered_sounds(data: bytes) -> dict[str, bytes]:
    """A recording in other codecs, later, shorter, more quiet, distorted and with noise."""
    wave = decode_audio(data, Limits())
    noise = np.random.default_rng(0).normal(size=len(wave)) * np.sqrt((wave**2).mean()) * 10 ** (-35 / 20)
    late = np.concatenate([np.zeros(1237, np.float32), wave])
    return {
        "opus": sound(wave, "OGG", "OPUS"),
        "vorbis, a third as loud": sound(wave * 0.3, "OGG", "VORBIS"),
        "mp3": sound(wave, "MP3", "MPEG_LAYER_III"),
        "77 ms late": sound(late),
        "77 ms late, opus": sound(late, "OGG", "OPUS"),
        "first 50 ms gone": sound(wave[800:]),
        "noise at -35 dB": sound((wave + noise).astype(np.float32)),
        "clipped": sound(np.clip(wave * 1.5 / max(float(np.abs(wave).max()), 1e-6), -1, 1)),
    }


def spoken(text: str, voice: str = "en", speed: int = 165) -> bytes:
    """A text read by espeak-ng."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "--stdout", text]
    said = subprocess.run(command, capture_output=True, check=True).stdout
    wave, rate = soundfile.read(io.BytesIO(said), dtype="float32")
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="OGG", subtype="VORBIS")
    return buffer.getvalue()


def one_word_apart(count: int) -> Iterator[tuple[str, str]]:
    """Sentences of 4 to 14 words, and the same with one other word."""
    rng, words = random.Random(3), COMMON.split()
    for _ in range(count):
        said = [rng.choice(words) for _ in range(rng.choice([4, 6, 8, 10, 14]))]
        other, place = list(said), rng.randrange(len(said))
        other[place] = rng.choice([word for word in words if word != said[place]])
        yield f"The {' '.join(said)}", f"The {' '.join(other)}"


def altered_clips(data: bytes) -> dict[str, bytes]:
    """A clip encoded anew, smaller, larger and poorer."""
    ways = {"mpeg4": (1.0, 800_000), "smaller": (0.6, 800_000), "larger": (1.5, 800_000), "poor": (1.0, 120_000)}
    return {how: _recoded(data, scale, rate) for how, (scale, rate) in ways.items()}


def _recoded(data: bytes, scale: float, bit_rate: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(buffer, "w", format="mp4") as target:
        shown = source.streams.video[0]
        stream = target.add_stream("mpeg4", rate=shown.average_rate or 10)
        sides = [max(16, int(side * scale) // 2 * 2) for side in (shown.width, shown.height)]
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *sides, "yuv420p", bit_rate
        for frame in source.decode(shown):
            picture = np.asarray(frame.to_image().resize(tuple(sides), Image.Resampling.LANCZOS))
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        target.mux(stream.encode())
    return buffer.getvalue()


def text_pdf(*pages: str, box: tuple[float, float] = A4, size: float = 11, compress: bool = False) -> bytes:
    """Pages of lines with a text layer."""
    streams = []
    for text in pages:
        plain = text.replace("\\", " ").replace("(", "[").replace(")", "]")
        shown = " ".join(f"({line}) Tj T*" for line in textwrap.wrap(plain, 80)[:52])
        streams.append(f"BT /F1 {size:g} Tf {size * 1.25:g} TL 60 {box[1] - 70:g} Td {shown} ET".encode())
    return pdf_of_pages(streams, box, compress=compress)


def altered_texts(text: str) -> dict[str, bytes]:
    """A page saved anew: packed, and on another paper in another size."""
    return {"packed": text_pdf(text, compress=True), "letter": text_pdf(text, box=LETTER, size=10.5)}


def bill(number: int) -> str:
    """A form that is filled in: most words are those of every other one."""
    rng, words = random.Random(number), COMMON.split()
    lines = " ".join(
        f"{rng.randint(1, 9)} {rng.choice(words)} at {rng.randint(10, 900)}.{rng.randint(10, 99)} euro each,"
        for _ in range(rng.choice([2, 5, 9]))
    )
    return (
        f"INVOICE number {10_000 + number * 37} dated {rng.randint(1, 28)} May 20{rng.randint(10, 26)}. Messrs Harbour "
        f"and Stone, 12 Quay Lane, to {rng.choice(words)} {rng.choice(words)}, {rng.randint(1, 200)} "
        f"{rng.choice(words)} street. We thank you for your order and have charged: {lines} to be paid within thirty "
        "days without deduction to the account that is named at the foot of this page. Goods stay ours until they are "
        "paid in full. Value added tax is included."
    )


def scanned(text: str) -> Image.Image:
    """A page full of text as a picture of 200 dots an inch."""
    sides = tuple(round(inches * 200) for inches in INCHES)
    page = Image.new("L", sides, 255)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=11 * 200 / 72)
    for place, line in enumerate(textwrap.wrap(text, 78)[:52]):
        draw.text((180, 180 + place * 14 * 200 / 72), line, fill=0, font=font)
    return page


def picture_pdf(page: Image.Image, dots: int = 200, **options: int) -> bytes:
    """A document of one picture, at so many dots an inch."""
    if dots != 200:
        page = page.resize((round(INCHES[0] * dots), round(INCHES[1] * dots)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    page.save(buffer, "PDF", resolution=dots, **options)
    return buffer.getvalue()


def altered_scans(page: Image.Image) -> dict[str, bytes]:
    """The same page at other resolutions, poorer, shifted, skewed and greyer."""
    return {
        "72 dpi": picture_pdf(page, 72),
        "150 dpi": picture_pdf(page, 150),
        "200 dpi": picture_pdf(page),
        "poor": picture_pdf(page, 100, quality=30),
        "shifted by 1 mm": picture_pdf(ImageChops.offset(page, 8, 6), 100),
        "turned by 0.4 degrees": picture_pdf(page.rotate(0.4, Image.Resampling.BICUBIC, fillcolor=255), 100),
        "grey": picture_pdf(page.point(lambda level: 20 + level * 0.86), 100),
    }

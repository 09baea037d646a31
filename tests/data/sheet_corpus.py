"""A corpus of every modality, hostile texts included, for the tests of what people look at."""

import io
from fractions import Fraction
from pathlib import Path

import numpy as np

from data.records import PartRef, Record
from data.shards import write_shard
from data.splits import split_of
from model.content import Modality, media_digest

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</p></article></main><script>alert(1)</script>",
    "' onmouseover='alert(1)",
    "&lt;b&gt;",
    "\u202eabc\u0000",
)


def png(colour: int = 90) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.linear_gradient("L").resize((64, 48)).point(lambda value: (value + colour) % 256).save(file, "png")
    return file.getvalue()


def wav(seconds: float = 0.5) -> bytes:
    import soundfile

    file = io.BytesIO()
    time_N = np.arange(int(16_000 * seconds)) / 16_000
    soundfile.write(file, 0.5 * np.sin(2 * np.pi * 440 * time_N), 16_000, format="WAV")
    return file.getvalue()


def mp4() -> bytes:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(8))
        stream.width = stream.height = 64
        for shade in range(0, 240, 30):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def gif() -> bytes:
    from PIL import Image

    frames = [Image.new("L", (32, 32), shade) for shade in (0, 80, 160, 240)]
    file = io.BytesIO()
    frames[0].save(file, "gif", save_all=True, append_images=frames[1:], duration=100)
    return file.getvalue()


def text(value: str) -> tuple[PartRef, ...]:
    return (PartRef(Modality.TEXT, text=value),)


def record(source: str, name: str, query: object, positive: object, *, language: str = "en", **more: object) -> Record:
    fields = {"task": "text_to_image", "negatives": (), "license": "MIT", "group": name} | more
    fields = {"split": split_of(str(fields["group"]))} | fields
    return Record(
        id=f"{source}/{name}", query=query, positives=(positive,), source=source, languages=(language,), **fields
    )  # type: ignore[arg-type]


def write_corpus(folder: Path) -> Path:
    """Five sources: texts in two languages, pictures with negatives, sounds, clips, and hostile captions."""
    shards: dict[str, tuple[list[Record], dict[str, tuple[Modality, bytes]]]] = {}

    def add(source: str, made: Record, *media: tuple[Modality, bytes]) -> None:
        records, kept = shards.setdefault(source, ([], {}))
        records.append(made)
        kept.update({media_digest(data): (modality, data) for modality, data in media})

    def part(modality: Modality, data: bytes) -> tuple[PartRef, ...]:
        return (PartRef(modality, media=media_digest(data)),)

    for i in range(30):
        add(
            "words",
            record("words", f"w{i}", text(f"question {i}"), text("x" * (i + 1)), language="en" if i % 3 else "de"),
        )
    for i in range(6):
        good, bad = png(i), png(i + 100)
        made = record(
            "pictures", f"p{i}", text(f"a picture {i}"), part(Modality.IMAGE, good),
            negatives=(part(Modality.IMAGE, bad),), group="crowd" if i < 4 else f"p{i}", split="train",
        )  # fmt: skip
        add("pictures", made, (Modality.IMAGE, good), (Modality.IMAGE, bad))
    sound, clip, moving = wav(), mp4(), gif()
    spoken = record("sounds", "s0", part(Modality.AUDIO, sound), text("a tone"), task="speech_to_text")
    add("sounds", spoken, (Modality.AUDIO, sound))
    for name, data in (("c0", clip), ("c1", moving)):
        made = record(
            "clips", name, text("brighter"), part(Modality.VIDEO, data), task="text_to_video", license="CC0-1.0"
        )
        add("clips", made, (Modality.VIDEO, data))
    for i, words in enumerate(HOSTILE):
        add("hostile", record("hostile", f"h{i}", text(words), text(words), license=words, group=words, task=words))
    for source, (records, media) in shards.items():
        write_shard(folder / f"{source}.parquet", records, media)
    return folder

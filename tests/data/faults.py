"""A corpus with planted faults: each a row that is wrong in one way, among rows that are right in every modality.

The rows are written as they are, without the checks of the shard writer, which would refuse some of them.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from PIL import Image

from components.validate.config import ValidateConfig
from data.shards import FORMAT, SCHEMA
from data.splits import split_of
from model.content import media_digest
from tests.conftest import make_mp4, make_ogg, make_pdf, make_png, pdf_file

Row = dict[str, Any]
SOURCE, EVALUATION = "things", "unseen"
OTHER_SPLIT = {"train": "test", "validation": "train", "test": "train"}
GERMAN = "Der schnelle braune Fuchs springt über den faulen Hund und läuft danach durch den großen Wald nach Hause."
# Every rule that only reports by default refuses here, and limits are low so that the files stay small.
CONFIG = ValidateConfig.parse(
    {
        "maximum_bad_share": 0.9,
        "evaluation_only": [EVALUATION],
        "limits": {
            "max_media_bytes": 150_000,
            "max_image_pixels": 1_000_000,
            "max_audio_seconds": 5,
            "max_video_seconds": 3,
            "max_document_seconds": 1,
            "max_document_memory": 400_000_000,
        },
        "ranges": {"text_chars": [1, 500], "tasks": ["text_to_image", "speech_to_text", "text_to_video", "reading"]},
        "rules": {
            name: {"severity": "fail"}
            for name in (
                "language_guess_mismatch",
                "latin_in_other_script",
                "media_blank",
                "text_mojibake",
                "text_length_out_of_range",
                "image_pixels_out_of_range",
                "audio_seconds_out_of_range",
            )
        },
        "expectations": [
            {
                "expect": "ExpectColumnValuesToBeBetween",
                "column": "image_width",
                "max_value": 600,
                "reason": "too_wide_for_us",
            }
        ],
    }
)


class Medium(NamedTuple):
    """A media row: what the shard says it is and under which digest, and what it is."""

    digest: str
    modality: str
    data: bytes


def stored(modality: str, data: bytes, digest: str | None = None) -> Medium:
    return Medium(digest or media_digest(data), modality, data)


def text(value: str | None) -> Row:
    return {"modality": "text", "text": value, "media": None}


def part(medium: Medium, modality: str | None = None) -> Row:
    return {"modality": modality or medium.modality, "text": None, "media": medium.digest}


@dataclass
class Fault:
    """A planted fault: what the row has instead, the media that come with it, and the reasons it must get."""

    reasons: set[str]
    changes: Callable[[int], Row]
    media: tuple[Medium, ...] = ()


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def wav(wave_N: np.ndarray, rate: int = 16_000, subtype: str = "FLOAT") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave_N, rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


def bomb_png(side: int = 12_000) -> bytes:
    """A black square of many pixels in a few kilobytes."""
    packer = zlib.compressobj(9)
    rows = b"".join([packer.compress(b"\0" + bytes((side + 7) // 8)) for _ in range(side)]) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    packed = [struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def bomb_pdf() -> bytes:
    """A page of 42 MB of strokes in a little file."""
    stream = zlib.compress(b"0 0 m 9 9 l S " * 3_000_000, 9)
    return pdf_file(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Contents 4 0 R >>",
            b"<< /Filter /FlateDecode /Length %d >> stream\n%s\nendstream" % (len(stream), stream),
        ]
    )


def picture_of_document() -> bytes:
    """A page with a picture of 20,000 x 20,000 pixels."""
    pixels, drawing = zlib.compress(bytes(1_000_000)), b"q 100 0 0 100 0 0 cm /Im Do Q"
    picture = b"/Type /XObject /Subtype /Image /Width 20000 /Height 20000 /ColorSpace /DeviceGray /BitsPerComponent 8"
    page = b"/MediaBox [0 0 99 99] /Contents 4 0 R /Resources << /XObject << /Im 5 0 R >> >>"
    return pdf_file(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R %s >>" % page,
            b"<< /Length %d >> stream\n%s\nendstream" % (len(drawing), drawing),
            b"<< %s /Filter /FlateDecode /Length %d >> stream\n%s\nendstream" % (picture, len(pixels), pixels),
        ]
    )


def damaged(data: bytes) -> bytes:
    """Some bytes in the middle are others; the container still looks whole."""
    middle = len(data) // 2
    return data[:middle] + bytes(b ^ 0x5A for b in data[middle : middle + 40]) + data[middle + 40 :]


def bad_picture(data: bytes, *reasons: str, digest: str | None = None) -> Fault:
    medium = stored("image", data, digest)
    return Fault(set(reasons), lambda _: {"positives": [[part(medium)]]}, (medium,))


def bad_sound(data: bytes, reason: str) -> Fault:
    medium = stored("audio", data)
    changes = {"task": "speech_to_text", "query": [part(medium)], "positives": [[text("some words")]]}
    return Fault({reason}, lambda _: changes, (medium,))


def bad_clip(data: bytes, reason: str) -> Fault:
    medium = stored("video", data)
    return Fault({reason}, lambda _: {"task": "text_to_video", "positives": [[part(medium)]]}, (medium,))


def bad_document(data: bytes, *reasons: str) -> Fault:
    medium = stored("document", data)
    return Fault(set(reasons), lambda _: {"task": "reading", "positives": [[part(medium)]]}, (medium,))


def bad_text(value: str | None, reason: str) -> Fault:
    return Fault({reason}, lambda _: {"query": [text(value)]})


def wrong(reason: str, *others: str, **changes: Any) -> Fault:
    return Fault({reason, *others}, lambda _: changes)


PICTURES = [stored("image", make_png(seed)) for seed in range(4)]
SOUND, CLIP, DOCUMENT = (
    stored("audio", make_ogg()),
    stored("video", make_mp4()),
    stored("document", make_pdf("Hello world")),
)
TIMES = np.arange(16_000) / 16_000
TONE = (0.3 * np.sin(2 * np.pi * 440 * TIMES)).astype(np.float32)
NOT_A_NUMBER, INFINITE = TONE.copy(), TONE.copy()
NOT_A_NUMBER[500], INFINITE[500] = np.nan, np.inf
NOISE = Image.fromarray(np.random.default_rng(9).integers(0, 256, (300, 300, 3), dtype=np.uint8))
GHOST = stored("hologram", make_png(50))
ABSENT = stored("image", b"never stored")

FAULTS: dict[str, Fault] = {
    "picture cut off": bad_picture(make_png(10)[:300], "image_truncated"),
    "picture damaged inside": bad_picture(damaged(make_png(11)), "image_undecodable"),
    "text stored as a picture": bad_picture(b"not a picture at all, but a sentence", "image_unsupported"),
    "sound stored as a picture": bad_picture(make_ogg(3), "image_unsupported"),
    "picture of no bytes": bad_picture(b"", "image_unsupported"),
    "bytes of another digest": bad_picture(make_png(12), "media_digest_mismatch", digest="f" * 32),
    "picture of 144 million pixels": bad_picture(bomb_png(), "image_too_large"),
    "picture of too many bytes": bad_picture(png(NOISE), "image_too_large"),
    "picture of one colour": bad_picture(png(Image.new("RGB", (40, 40), "navy")), "media_blank"),
    "picture of a few pixels": bad_picture(make_png(13, 8, 8), "image_pixels_out_of_range"),
    "picture wider than the user allows": bad_picture(make_png(14, 700, 20), "too_wide_for_us"),
    "sound cut off": bad_sound(make_ogg(4)[:2_000], "audio_truncated"),
    "sound with NaN": bad_sound(wav(NOT_A_NUMBER), "audio_not_finite"),
    "sound with infinity": bad_sound(wav(INFINITE), "audio_not_finite"),
    "silent sound": bad_sound(wav(np.zeros(16_000, np.float32)), "audio_silent"),
    "sound that lasts too long": bad_sound(wav(np.tile(TONE, 6)[:48_000], 8_000, "PCM_16"), "audio_too_long"),
    "sound of an instant": bad_sound(wav(TONE[:400]), "audio_seconds_out_of_range"),
    "sound without samples": bad_sound(wav(TONE[:0]), "audio_empty"),
    "clip cut off": bad_clip(make_mp4(5)[:-200], "video_truncated"),
    "clip that lasts too long": bad_clip(make_mp4(6, frames=40), "video_too_long"),
    "document cut off": bad_document(make_pdf("cut")[:-60], "document_truncated"),
    "document of strokes without end": bad_document(bomb_pdf(), "document_too_complex", "document_undecodable"),
    "document with a huge picture": bad_document(picture_of_document(), "document_too_large"),
    "document of too many pages": bad_document(make_pdf(*"1234567"), "document_too_long"),
    "called a sound, stored as a picture": Fault(
        {"media_modality_mismatch"}, lambda _: {"query": [part(PICTURES[0], "audio")]}
    ),
    "unknown modality": Fault(
        {"malformed_part", "media_modality_unknown"}, lambda _: {"query": [part(GHOST)]}, (GHOST,)
    ),
    "medium that is not there": Fault({"media_missing"}, lambda _: {"positives": [[part(ABSENT)]]}),
    "part with text and medium": Fault(
        {"malformed_part"}, lambda _: {"positives": [[{**part(PICTURES[0]), "text": "both"}]]}
    ),
    "no query": wrong("query_missing", query=[]),
    "no positive": wrong("positive_missing", positives=[]),
    "blank text": bad_text("  \n\t", "text_empty"),
    "null text": bad_text(None, "text_empty"),
    "control characters": bad_text("a cat\x00 on\x07 a mat", "text_control_characters"),
    "replacement characters": bad_text("a caf\ufffd in the rain", "text_replacement_characters"),
    "UTF-8 read as Latin-1": bad_text("Ã¼ber den Ã„rger", "text_mojibake"),
    "text that is too long": bad_text("word " * 200, "text_length_out_of_range"),
    "language tag that is none": wrong("language_tag_invalid", languages=["english"]),
    "no language tag": wrong("language_tag_invalid", languages=[]),
    "letters of another script": wrong(
        "language_script_mismatch", languages=["ja"], query=[text("plainly an English caption of things")]
    ),
    "words of another language": wrong("language_guess_mismatch", query=[text(GERMAN)]),
    "licence that is not allowed": wrong("license_not_allowed", license="MIT AND CC-BY-NC-4.0"),
    "licence that is no expression": wrong("license_malformed", license="free, really"),
    "licence missing": wrong("license_missing", license=None),
    "id missing": wrong("id_missing", id=None),
    "id of another record": wrong("duplicate_id", id="twice"),
    "id of another record again": wrong("duplicate_id", id="twice"),
    "group missing": wrong("group_missing", group=None, split="train"),
    "split of another group": Fault(
        {"split_is_not_group_hash"}, lambda n: {"split": OTHER_SPLIT[split_of(f"group {n}")]}
    ),
    "group in two splits": wrong(
        "split_is_not_group_hash", "group_in_two_splits", group="group 1", split=OTHER_SPLIT[split_of("group 1")]
    ),
    "split that is none": wrong("unknown_split", "split_is_not_group_hash", split="dev"),
    "task that is none": wrong("unknown_task", task="guessing"),
    "source of another shard": wrong("source_is_not_shard", source="elsewhere"),
}


@dataclass
class Planted:
    """A corpus on disk: ids of its good records, and the expected reasons of the bad ones by position in ``faulty``."""

    corpus: Path
    good: list[str]
    faulty: list[tuple[str, str | None, set[str]]]


def plant(corpus: Path) -> Planted:
    """Write the corpus: the faults of ``FAULTS`` in one shard, and two of a source for evaluation in another."""
    good = good_rows()
    rows, faulty = list(good), []
    media = {m.digest: m for m in (*PICTURES, SOUND, CLIP, DOCUMENT)}
    for number, (name, fault) in enumerate(FAULTS.items(), 1_000):
        row = {**record(number), **fault.changes(number)}
        rows.append(row)
        faulty.append((name, row["id"], fault.reasons))
        media |= {m.digest: m for m in fault.media}
    write(corpus / f"{SOURCE}-00000.parquet", rows, list(media.values()))
    tests = [record(n, EVALUATION) for n in range(2_000, 2_060)]
    trained = [row for row in tests if row["split"] != "test"]
    write(corpus / f"{EVALUATION}.parquet", tests, PICTURES)
    faulty += [("evaluation source in training", row["id"], {"evaluation_only_source"}) for row in trained]
    kept = [row["id"] for row in (*good, *tests) if row not in trained]
    return Planted(corpus, kept, faulty)


def record(number: int, source: str = SOURCE) -> Row:
    group = f"group {number}"
    return {
        "kind": "record",
        "id": f"{source}/{number}",
        "task": "text_to_image",
        "query": [text(f"a picture of thing {number}")],
        "positives": [[part(PICTURES[number % 4])]],
        "negatives": [],
        "source": source,
        "languages": ["en"],
        "license": "MIT AND Unicode-3.0",
        "group": group,
        "split": split_of(group),
    }


def good_rows() -> list[Row]:
    rows = [record(n) for n in range(80)]
    rows[1] |= {"task": "speech_to_text", "query": [part(SOUND)], "positives": [[text("a word")]]}
    rows[2] |= {"task": "text_to_video", "positives": [[part(CLIP)]], "negatives": [[part(PICTURES[0])]]}
    rows[3] |= {"task": "reading", "positives": [[part(DOCUMENT)]]}
    rows[4] |= {"query": [part(PICTURES[1]), text("with a hat")]}
    rows[5] |= {"query": [text(GERMAN)], "languages": ["de"]}
    rows[6] |= {"query": [text("犬の絵です")], "languages": ["ja"]}
    return rows


def write(path: Path, rows: list[Row], media: list[Medium]) -> None:
    found = [{"kind": "media", "id": m.digest, "modality": m.modality, "bytes": m.data} for m in media]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(found + rows, SCHEMA.with_metadata(FORMAT)), path)

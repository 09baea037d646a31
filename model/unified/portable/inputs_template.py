"""Second part of the modelling file: what callers may send, and how it becomes units of the library's making.

Encoded media (bytes, or the path of a file) go through the library's own reader, which comes above. What was decoded
before (arrays, PIL pictures) enters where that reader has decoded, under the same limits. The forms are those of
sentence-transformers: ``{"array": ..., "sampling_rate": ...}`` and ``{"array": ..., "video_metadata": ...}``.

Shape legend: N samples, C channels, F frames, H x W pixels, S x S pixels of the square.
"""

# ruff: noqa: F821 (names of the library's code, which comes above)
# mypy: ignore-errors
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

# LIBRARY
TEXT, DOCUMENT = Modality.TEXT.value, Modality.DOCUMENT.value
ENCODED = (bytes, str, os.PathLike)
DIMENSIONS_OF_PICTURE, DIMENSIONS_OF_CLIP = 3, 4


def worker_command() -> list[str]:
    """Start of the process that renders a document, confined like that of the library."""
    if find_spec("pypdfium2") is None:
        raise missing("pypdfium2")
    return [sys.executable, "-I", "-c", PDF_WORKER]


def malformed(message: str) -> ContentError:
    """What callers get for an input of no known form."""
    return ContentError(message, code="malformed_part")


def parts_of(value: object) -> list:
    """(kind, value) of each part of one input, in order."""
    if isinstance(value, str):
        return [(TEXT, value)]
    if isinstance(value, bytes):
        return [(kind_of(value), value)]
    if isinstance(value, Image.Image):
        return [(IMAGE, value)]
    if isinstance(value, np.ndarray | torch.Tensor):
        return [({DIMENSIONS_OF_PICTURE: IMAGE, DIMENSIONS_OF_CLIP: VIDEO}.get(value.ndim, AUDIO), value)]
    if isinstance(value, tuple | list):
        return [part for item in value for part in parts_of(item)]
    if isinstance(value, dict):
        if "role" in value and isinstance(value.get("content"), str | list):
            return parts_of(value["content"])
        if "array" in value:
            return [(AUDIO if "sampling_rate" in value else VIDEO, value)]
        kinds = [kind for kind in value if kind in {*Modality, "parts"}]
        if kinds and set(value) <= {*kinds, "type"}:
            return [part for kind in kinds for part in parts_named(kind, value[kind])]
    raise malformed(
        f"an input of type {type(value).__name__} is no text, picture, sound, clip or document: send a string, bytes, "
        'a PIL image, {"audio": ...} or another kind by its name, or a tuple of these'
    )


def parts_named(kind: str, value: object) -> list:
    """Parts of a value whose kind was said; a list holds several, but for pages and the frames of a clip."""
    if kind == "parts":
        return parts_of(value)
    is_one = kind == DOCUMENT or (kind == VIDEO and isinstance(value, tuple | list) and all(map(is_picture, value)))
    if isinstance(value, tuple | list) and not is_one:
        return [part for item in value for part in parts_named(kind, item)]
    if kind == TEXT and not isinstance(value, str):
        raise malformed(f"a text is a string, not of type {type(value).__name__}")
    return [(kind, value)]


def kind_of(data: bytes) -> str:
    """Kind of encoded media by their first bytes; of a GIF without ``{"video": ...}`` the first frame is a picture."""
    found = next((kind for kind, containers in ALLOWED.items() if sniff(data) in containers), None)
    if found is None:
        known = ", ".join(dict.fromkeys(name for containers in ALLOWED.values() for name in containers))
        raise malformed(f"{len(data)} bytes of no known format; accepted: {known}")
    return found.value


def read_media(kind: str, value: object, reader: MediaReader) -> list[Unit]:
    """Units of one part that is no text.

    Raises:
        ContentError: what the library raises for this kind of media, or ``malformed_part``.
        ImportError: encoded media need a library that is not installed.
    """
    if isinstance(value, ENCODED):
        return reader.units(Part(Modality(kind), data=encoded(value, kind, reader.config.limits)))
    return DECODED[kind](value, reader)


def encoded(value: bytes | str | os.PathLike, kind: str, limits: object) -> bytes:
    """Bytes, or those of a local file whose size is looked at before it is read."""
    if isinstance(value, bytes):
        return value
    path = Path(value)
    if not path.is_file():
        raise malformed(f"{kind}: there is no file {str(value)[:200]!r}; send its bytes, addresses are not fetched")
    if path.stat().st_size > limits.max_media_bytes:
        raise ContentError(
            f"{path} has {path.stat().st_size} bytes; at most {limits.max_media_bytes} are accepted",
            code=f"{kind}_too_large",
            limit="max_media_bytes",
        )
    return path.read_bytes()


def is_picture(value: object) -> bool:
    """Whether a value is one decoded picture."""
    return isinstance(value, Image.Image) or getattr(value, "ndim", 0) == DIMENSIONS_OF_PICTURE


def array_of(value: object) -> np.ndarray:
    """A tensor or whatever else numpy takes as an array."""
    return np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)


def picture_of(value: object) -> Image.Image:
    """A PIL picture turned upright, or one of an array [H, W, 3] or [3, H, W] of bytes."""
    if isinstance(value, Image.Image):
        return ImageOps.exif_transpose(value)
    pixels = array_of(value)
    if pixels.ndim == DIMENSIONS_OF_PICTURE and pixels.shape[-1] != len(WHITE):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.dtype != np.uint8 or pixels.shape[-1:] != (len(WHITE),) or pixels.ndim != DIMENSIONS_OF_PICTURE:
        raise malformed(
            f"a picture is an array of {pixels.dtype} of shape {pixels.shape}; accepted are uint8 arrays [height, "
            "width, 3] or [3, height, width], PIL pictures, bytes and paths"
        )
    return Image.fromarray(np.ascontiguousarray(pixels))


def square_of(value: object, reader: MediaReader) -> np.ndarray:
    """A picture in any form as a white square [S, S, 3]."""
    limits, size = reader.config.limits, reader.config.image.size
    if isinstance(value, ENCODED):
        return decode_image(encoded(value, IMAGE, limits), limits, size=size)
    if isinstance(value, Image.Image):
        _check_pixels(value.size, limits)  # before it is decoded
    picture = picture_of(value)
    _check_pixels(picture.size, limits)
    return fit_square(picture, size)


def read_picture(value: object, reader: MediaReader) -> list[Unit]:
    """A decoded picture."""
    return [reader._picture(square_of(value, reader))]


def read_sound(value: object, reader: MediaReader) -> list[Unit]:
    """Samples with their rate."""
    return reader._sound(wave_of(value, reader.config.limits.max_audio_seconds, "max_audio_seconds"))


def wave_of(value: object, longest: float, limit: str) -> np.ndarray:
    """``{"array": [N] or [N, C], "sampling_rate": ...}`` as mono samples at 16 kHz, mixed as sound files are."""
    if not isinstance(value, dict) or not {"array", "sampling_rate"} <= set(value):
        raise malformed('a sound is {"array": samples, "sampling_rate": 16000}, encoded bytes, or a path')
    samples, rate = array_of(value["array"]), value["sampling_rate"]
    if rate not in RATES:
        raise ContentError(
            f"the audio has a sample rate of {rate} Hz; accepted are {RATES[0]} to {RATES[-1]} Hz",
            code="audio_undecodable",
        )
    channels = samples.shape[1] if samples.ndim == 2 else 1
    if samples.dtype.kind != "f" or samples.ndim not in (1, 2) or channels > max(1, len(samples)):
        raise malformed(
            f"a sound is an array of {samples.dtype} of shape {samples.shape}; accepted are floats in -1..1 of shape "
            "[samples] or [samples, channels]"
        )
    if samples.size == 0:
        raise ContentError("the audio holds no samples: send at least some milliseconds", code="audio_empty")
    if len(samples) > longest * rate:
        raise ContentError(
            f"the audio lasts {len(samples) / rate:.1f} s; at most {longest:g} s are accepted: cut it into pieces",
            code="audio_too_long",
            limit=limit,
        )
    samples = samples.astype(np.float32)
    wave_N = samples.mean(axis=1, dtype=np.float32) if samples.ndim == 2 else samples
    return at_16_khz(wave_N, rate, len(wave_N))


def read_clip_of_frames(value: object, reader: MediaReader) -> list[Unit]:
    """Frames, alone or as ``{"array": frames, "video_metadata": ..., "audio": ...}``, sampled as of a file."""
    config, limits = reader.config.video, reader.config.limits
    given = value if isinstance(value, dict) else {"array": value}
    frames = given.get("array")
    if frames is None or not hasattr(frames, "__len__"):
        raise malformed('a clip is its frames, {"array": frames, "video_metadata": ...}, encoded bytes, or a path')
    times, seconds, timed = times_of(given.get("video_metadata") or {}, len(frames))
    if timed:
        check_seconds(seconds, limits)
    elif config.frames_per_second is not None or config.audio_track:
        raise malformed('this model needs the times of a clip: say {"video_metadata": {"fps": ...}} beside "array"')
    chosen = choose_times(times, seconds, frame_budget(seconds, config.max_frames, config.frames_per_second))

    def pictures() -> Iterator[Image.Image]:
        for time in chosen:
            picture = picture_of(frames[int(np.searchsorted(times, time - 1e-6))])
            _check_picture(*picture.size, limits)
            yield picture

    return reader._shown(pictures(), len(chosen)) + track_of(given, seconds, reader)


def times_of(metadata: dict, count: int) -> tuple[list[float], float, bool]:
    """Times of the frames and duration in seconds, and whether these were told; else frames count as seconds."""
    if count == 0:
        raise ContentError("the video holds no frames", code="video_empty")
    fps, times, indices = (metadata.get(name) for name in ("fps", "times", "frames_indices"))
    if fps is None and times is None:
        return [float(i) for i in range(count)], float(count), False
    if times is None and not 0 < fps < np.inf:
        raise malformed(f"a clip of {fps} frames a second: say how many it has, or leave fps out")
    if times is None:
        times = np.arange(count) / fps if indices is None else np.asarray(indices) / fps
    times = [float(time) for time in times]
    if len(times) != count or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise malformed(f"a clip of {count} frames needs as many times, each finite and later than the one before")
    # The last frame is shown as long as the others; of frames that were taken from a longer clip, up to its end.
    span = times[-1] - times[0]
    step = 1 / fps if fps is not None else span / max(1, count - 1)
    whole = metadata["total_num_frames"] / fps if fps and indices is not None and "total_num_frames" in metadata else 0
    seconds = metadata.get("duration") or max(whole, span + step)
    if not np.isfinite(seconds):
        raise malformed(f"a clip of {seconds} s: say how long it lasts, or leave its duration out")
    return times, max(float(seconds), span), True


def track_of(given: dict, seconds: float, reader: MediaReader) -> list[Unit]:
    """Units of the sound of a clip, cut or filled with silence to the length of its pictures."""
    if not reader.config.video.audio_track:
        return []
    if "audio" not in given:
        raise malformed(
            'this model hears the sound of clips: say {"audio": {"array": ..., "sampling_rate": ...}} beside "array", '
            'or {"audio": None} for a clip without sound'
        )
    if given["audio"] is None:
        return []
    wave_N = wave_of(given["audio"], reader.config.limits.max_video_seconds, "max_video_seconds")
    track_N = np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)
    used = min(len(track_N), len(wave_N))
    track_N[:used] = wave_N[:used]
    return reader._sound(track_N)


def read_pages(value: object, reader: MediaReader) -> list[Unit]:
    """Pages of a document as pictures, each alone or as (picture, text of the page)."""
    if not isinstance(value, tuple | list):
        raise malformed("a document is a PDF (bytes or path) or a list of pages, each a picture or (picture, text)")
    limits, reads_text = reader.config.limits, reader.config.document.text_layer
    if not value:
        raise ContentError("the document has no pages", code="document_empty")
    if len(value) > limits.max_document_pages:
        raise ContentError(
            f"the document has {len(value)} pages; at most {limits.max_document_pages} are accepted: send it in pieces",
            code="document_too_long",
            limit="max_document_pages",
        )
    units = []
    for page in value:
        picture, text = page if isinstance(page, tuple) else (page, "")
        _check_unicode(text)
        ids = reader._page_ids(" ".join(text.split()) if reads_text else "")
        units.append(reader._picture(square_of(picture, reader), ids))
    return units


DECODED = {IMAGE: read_picture, AUDIO: read_sound, VIDEO: read_clip_of_frames, DOCUMENT: read_pages}

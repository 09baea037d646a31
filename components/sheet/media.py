"""Media made small enough to be looked at on a page: thumbnails, film strips, wave forms and players, as data: URIs.

Shape legend: S x S pixels, F frames, N samples, 3 colours.
"""

import base64
import html
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.pages import CLIPS, SOUNDS
from model.content import Modality
from model.encoder import Limits
from model.errors import ContentError

THUMBNAIL = 168
STRIP_FRAMES = 6
STRIP_SIZE = 88
ORIGINAL_BYTES = 120_000
EXCERPT_SECONDS = 10
BARS = 72


@dataclass
class Budget:
    """Bytes that media may still take on the page."""

    left: int
    refused: int = 0

    def take(self, size: int) -> bool:
        """Take a share; ``False`` when there is not enough left."""
        if size > self.left:
            self.refused += 1
            return False
        self.left -= size
        return True


def show(modality: str, data: bytes, limits: Limits, budget: Budget) -> str:
    """HTML that shows one medium; one that cannot be decoded is described instead."""
    view = _VIEWS.get(modality)
    if view is None:
        return unseen(f"modality {modality!r}", data)
    try:
        return view(data, limits, budget)
    except ContentError as error:
        return unseen(f"{error.code}: {error}", data)
    except (OSError, ValueError, RuntimeError) as error:
        return unseen(f"{type(error).__name__}: {error}", data)


def unseen(why: str, data: bytes | None = None) -> str:
    """A box that stands for a medium which cannot be shown."""
    facts = "" if data is None else f"<small>{len(data):,} bytes, begins {html.escape(data[:8].hex(' '))}</small>"
    return f'<div class="unseen">{html.escape(why[:300])}{facts}</div>'


def _image(data: bytes, limits: Limits, budget: Budget) -> str:
    from PIL import Image

    from model.media.containers import check_container

    container = check_container(data, Modality.IMAGE, limits)
    with Image.open(io.BytesIO(data)) as picture:
        if picture.width * picture.height > limits.max_image_pixels:
            raise ContentError("more pixels than the limit", code="image_too_large", limit="max_image_pixels")
        size = f"{picture.width} x {picture.height} {container}"
        picture.draft("RGB", (2 * THUMBNAIL, 2 * THUMBNAIL))
        small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        small.thumbnail((THUMBNAIL, THUMBNAIL))
    return _picture(small, f"{size}, {len(data):,} bytes", budget)


def _audio(data: bytes, limits: Limits, budget: Budget) -> str:
    from model.media.audio import decode_audio
    from model.media.containers import sniff
    from model.media.mel import SAMPLE_RATE

    wave_N = decode_audio(data, limits)
    seconds = len(wave_N) / SAMPLE_RATE
    kind = SOUNDS.get(sniff(data) or "")
    note = f"{seconds:.1f} s {sniff(data)}, {len(data):,} bytes"
    if kind is None or len(data) > ORIGINAL_BYTES:
        data, kind = _excerpt(wave_N, SAMPLE_RATE), "audio/ogg"
        note += f", the first {EXCERPT_SECONDS} s" if seconds > EXCERPT_SECONDS else ", smaller"
    return _figure(_wave(wave_N) + _player("audio", kind, data, budget), note)


def _video(data: bytes, limits: Limits, budget: Budget) -> str:
    from model.media.containers import sniff
    from model.media.video import decode_video

    clip = decode_video(data, limits, size=STRIP_SIZE, max_frames=STRIP_FRAMES)
    container = sniff(data) or ""
    note = f"{container}, {len(data):,} bytes, frames from {clip.times_F[0]:.1f} to {clip.times_F[-1]:.1f} s"
    strip = _jpeg(np.concatenate(list(clip.frames_FSS3), axis=1))
    shown = [_img(strip, "image/jpeg", "strip", budget)]
    if len(data) <= ORIGINAL_BYTES:
        if container in CLIPS:
            poster = f'loop poster="{_uri("image/jpeg", _jpeg(clip.frames_FSS3[0]))}" '
            shown.append(_player("video", CLIPS[container], data, budget, poster))
        elif container == "gif":
            shown.append(_img(data, "image/gif", "moving", budget))
    return _figure("".join(shown), note)


def _document(data: bytes, limits: Limits, budget: Budget) -> str:
    from model.media.document import decode_document

    pages = decode_document(data, limits, size=2 * THUMBNAIL, text=True)
    drawn = [page.pixels_SS3 for page in pages if page.pixels_SS3 is not None]
    words = " ".join(page.text or "" for page in pages).split()
    first = _img(_jpeg(drawn[0]), "image/jpeg", "", budget) if drawn else ""
    return _figure(first, f"{len(pages)} pages, {len(data):,} bytes. {' '.join(words[:40])}")


_VIEWS: dict[str, Callable[[bytes, Limits, Budget], str]] = {
    Modality.IMAGE.value: _image,
    Modality.AUDIO.value: _audio,
    Modality.VIDEO.value: _video,
    Modality.DOCUMENT.value: _document,
}


def _picture(picture: "object", note: str, budget: Budget) -> str:
    file = io.BytesIO()
    picture.save(file, "webp", quality=80, method=2)  # type: ignore[attr-defined]
    return _figure(_img(file.getvalue(), "image/webp", "picture", budget), note)


def _figure(shown: str, note: str) -> str:
    return f"<figure>{shown}<figcaption>{html.escape(note)}</figcaption></figure>"


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=72, optimize=True)
    return file.getvalue()


def _img(data: bytes, kind: str, style: str, budget: Budget) -> str:
    if not budget.take(len(data) * 4 // 3):
        return unseen("left out: the page is full (--megabytes)")
    return f'<img class="{style}" loading="lazy" decoding="async" alt="" src="{_uri(kind, data)}">'


def _player(tag: str, kind: str, data: bytes, budget: Budget, extra: str = "") -> str:
    if not budget.take(len(data) * 4 // 3 + len(extra)):
        return unseen("left out: the page is full (--megabytes)")
    return f'<{tag} controls {extra}preload="none" src="{_uri(kind, data)}"></{tag}>'


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _excerpt(wave_N: NDArray[np.float32], rate: int) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, wave_N[: EXCERPT_SECONDS * rate], rate, format="OGG", subtype="OPUS")
    return file.getvalue()


def _wave(wave_N: NDArray[np.float32]) -> str:
    """The loudness along a sound as bars; silence is a flat line."""
    peaks = [float(np.abs(piece).max(initial=0.0)) for piece in np.array_split(wave_N, BARS)]
    bars = "".join(
        f"M{3 * i + 1} {16 - 15 * min(peak, 1.0):.1f}V{16 + max(15 * min(peak, 1.0), 0.3):.1f}"
        for i, peak in enumerate(peaks)
    )
    return f'<svg class="wave" viewBox="0 0 {3 * BARS} 32" preserveAspectRatio="none"><path d="{bars}"/></svg>'

"""What each media item of a corpus really is: decoded with the decoders of the model, measured, or refused with a code.

Shape legend: S x S pixels, F frames, N samples, 3 colours.
"""

import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.content import media_digest
from model.encoder import Limits
from model.errors import ContentError
from model.progress import progress

PROBE_VERSION = 1
PICTURE_SIZE = 64
VIDEO_FRAMES = 4
FLAT_RANGE = 4
SILENT_PEAK = 1e-3
STRETCH = 320
NOT_FINITE, SILENT = "audio_not_finite", "audio_silent"
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Probe:
    """Findings about one media item; what does not apply, or could not be found out, is ``None``.

    Attributes:
        digest: identity under which the shard stores the item, a hash of its bytes.
        modality: what the shard says it is.
        size: encoded bytes.
        code: ``None`` when it can be used, else the decoder's reason, ``media_digest_mismatch``,
            ``media_modality_unknown`` or ``audio_silent``.
        message: the reason in words.
        container: format by its first bytes.
        width: columns of a picture or of a clip's frames, as stored.
        height: rows of the same.
        seconds: duration of a sound or clip.
        rate: samples per second of a sound as stored.
        channels: channels of a sound as stored.
        frames: frames of a video, pages of a document.
        blank: a picture or video of one flat colour; only reported, for a "white large square" is just that.
        silent: a sound that never gets above ``SILENT_PEAK``.
        silence: share of a sound's stretches of ``STRETCH`` samples that never do.
        finite: whether all samples of a sound are usable numbers.
        hashes: perceptual identity, words of 64 bits (see :mod:`data.fingerprints`); near-duplicates have similar ones.
    """

    digest: str
    modality: str
    size: int
    code: str | None = None
    message: str = ""
    container: str | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    rate: int | None = None
    channels: int | None = None
    frames: int | None = None
    blank: bool = False
    silent: bool = False
    silence: float | None = None
    finite: bool | None = None
    hashes: tuple[int, ...] = ()

    @property
    def pixels(self) -> int | None:
        """Width times height."""
        return None if self.width is None or self.height is None else self.width * self.height


Facts = dict[str, Any]


def probe_media(digest: str, modality: str, data: bytes, limits: Limits) -> Probe:
    """Decode one item completely (a video: four of its frames) and measure it; never raises for bad media."""
    from model.media.containers import sniff

    size = len(data)
    measure = _MEASURES.get(modality)
    if measure is None:
        rule = f"media of modality {modality!r}; known are {', '.join(_MEASURES)}"
        return Probe(digest, modality, size, "media_modality_unknown", rule)
    if media_digest(data) != digest:
        return Probe(digest, modality, size, "media_digest_mismatch", "the bytes are not those of the stored digest")
    container = sniff(data)
    try:
        facts = measure(data, limits)
    except ContentError as error:
        finite = False if error.code == NOT_FINITE else None
        message = str(error).encode("utf-8", "backslashreplace").decode()  # a decoder may quote bytes that are no text
        return Probe(digest, modality, size, error.code, message, container, finite=finite)
    return Probe(digest, modality, size, container=container, **facts)


def probe_all(items: Iterable[tuple[str, str, bytes]], limits: Limits, *, total: int | None = None) -> list[Probe]:
    """Probe (digest, modality, bytes) items on two threads; the decoders release the interpreter lock."""
    with ThreadPoolExecutor(WORKERS) as pool:
        probes = pool.map(lambda item: probe_media(item[0], item[1], item[2], limits), items)
        return list(progress(probes, total=total, desc="decode checks", unit="media"))


def _image(data: bytes, limits: Limits) -> Facts:
    from PIL import Image

    from data.fingerprints import picture_hashes
    from model.media.image import decode_image

    pixels_SS3 = decode_image(data, limits, size=PICTURE_SIZE)
    with Image.open(io.BytesIO(data)) as header:
        width, height = header.size
    blank = _is_flat(_without_margins(pixels_SS3, width, height))
    return {"width": width, "height": height, "blank": blank, "hashes": picture_hashes(pixels_SS3)}


def _audio(data: bytes, limits: Limits) -> Facts:
    import soundfile

    from data.fingerprints import sound_hashes
    from model.media.audio import decode_audio
    from model.media.mel import SAMPLE_RATE

    wave_N = decode_audio(data, limits)
    header = soundfile.info(io.BytesIO(data))
    facts: Facts = {"seconds": len(wave_N) / SAMPLE_RATE, "rate": header.samplerate, "channels": header.channels}
    loud_N = np.abs(wave_N) if len(wave_N) else np.zeros(1)  # a single sample at a high rate leaves nothing at 16 kHz
    peaks = np.maximum.reduceat(loud_N, np.arange(0, len(loud_N), STRETCH))
    facts |= {"finite": True, "silence": float((peaks < SILENT_PEAK).mean())}
    if peaks.max() < SILENT_PEAK:
        rule = f"the sound never exceeds {SILENT_PEAK} of full scale"
        return {**facts, "silent": True, "code": SILENT, "message": rule}
    return {**facts, "hashes": sound_hashes(wave_N)}


def _video(data: bytes, limits: Limits) -> Facts:
    from data.fingerprints import clip_hashes
    from model.media.ffmpeg import read_clip
    from model.media.video import sample_frames

    clip = read_clip(data, limits)
    frames_FSS3 = sample_frames(clip, limits, size=PICTURE_SIZE, max_frames=VIDEO_FRAMES).frames_FSS3
    return {
        "width": clip.width,
        "height": clip.height,
        "seconds": clip.seconds,
        "frames": len(clip.times),
        "blank": _is_flat(frames_FSS3),
        "hashes": clip_hashes(frames_FSS3),
    }


def _document(data: bytes, limits: Limits) -> Facts:
    from data.fingerprints import page_hashes
    from model.media.document import decode_document

    pages = decode_document(data, limits, size=PICTURE_SIZE, text=True)
    drawn = [page.pixels_SS3 for page in pages if page.pixels_SS3 is not None]
    blank = not any(page.text for page in pages) and all(_is_flat(pixels) for pixels in drawn)
    return {"frames": len(pages), "blank": blank, "hashes": page_hashes(pages)}


def _is_flat(pixels: NDArray[np.uint8]) -> bool:
    """Whether every channel of [..., 3] pixels has one value, but for what a codec adds."""
    channels_N3 = pixels.reshape(-1, pixels.shape[-1])
    return int(np.ptp(channels_N3, axis=0).max()) <= FLAT_RANGE


def _without_margins(pixels_SS3: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The middle of a square that holds a picture of these sides, between its white margins."""
    scale = len(pixels_SS3) / max(width, height)
    wide, high = (max(1, round(side * scale)) for side in (width, height))
    left, top = (len(pixels_SS3) - wide) // 2, (len(pixels_SS3) - high) // 2
    return pixels_SS3[top : top + high, left : left + wide]


_MEASURES: dict[str, Callable[[bytes, Limits], Facts]] = {
    "image": _image,
    "audio": _audio,
    "video": _video,
    "document": _document,
}

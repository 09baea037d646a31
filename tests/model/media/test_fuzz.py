"""Valid samples of every format with flipped bits, cuts and splices: a ContentError or a result, nothing else."""

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.encoder import Limits
from model.errors import ContentError
from model.media.audio import decode_audio
from model.media.document import decode_document
from model.media.ffmpeg import read_clip
from model.media.image import decode_image
from model.media.track import decode_track
from model.media.video import decode_video
from tests.conftest import make_mp4, make_pdf, make_png
from tests.model.media.test_video import clip, gif

LIMITS = Limits()
CODES = {"truncated", "undecodable", "unsupported", "empty", "not_finite", "too_large", "too_long", "too_complex"}


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(make_png())).save(buffer, kind)
    return buffer.getvalue()


def sound(kind: str, subtype: str) -> bytes:
    buffer = io.BytesIO()
    wave = np.sin(np.arange(4800) / 20).astype(np.float32) * 0.4
    soundfile.write(buffer, wave, 48_000, format=kind, subtype=subtype)
    return buffer.getvalue()


def see(data: bytes) -> None:
    pixels = decode_image(data, LIMITS, size=16)
    assert pixels.shape == (16, 16, 3)


def hear(data: bytes) -> None:
    assert np.isfinite(decode_audio(data, LIMITS)).all()


def watch(data: bytes) -> None:
    frames, times = decode_video(data, LIMITS, size=16, max_frames=4)
    assert 1 <= len(frames) == len(times) <= 4
    assert np.isfinite(decode_track(read_clip(data, LIMITS), LIMITS)).all()


def read(data: bytes) -> None:
    assert len(decode_document(data, LIMITS, size=16, text=True)) <= LIMITS.max_document_pages


SAMPLES: dict[str, tuple[Callable[[], bytes], Callable[[bytes], None], int]] = {
    **{kind: (lambda kind=kind: picture(kind), see, 60) for kind in ("PNG", "JPEG", "WEBP", "GIF")},
    **{
        subtype: (lambda kind=kind, subtype=subtype: sound(kind, subtype), hear, 60)
        for kind, subtype in (
            ("WAV", "PCM_16"),
            ("WAV", "FLOAT"),
            ("FLAC", "PCM_24"),
            ("OGG", "VORBIS"),
            ("OGG", "OPUS"),
            ("MP3", "MPEG_LAYER_III"),
        )
    },
    "mp4": (make_mp4, watch, 25),
    "h264": (lambda: clip("mp4", "libx264", 6), watch, 25),
    "webm": (lambda: clip("webm", "libvpx-vp9", 6), watch, 25),
    "gif clip": (lambda: gif(6), watch, 25),
    "pdf": (lambda: make_pdf("Hello", compress=True), read, 10),
}


@lru_cache
def sample(name: str) -> bytes:
    return SAMPLES[name][0]()


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_media_give_a_typed_error_or_a_sound_result(name: str) -> None:
    data, decode = sample(name), SAMPLES[name][1]
    decode(data)
    place = st.integers(0, len(data) - 1)

    @settings(max_examples=SAMPLES[name][2], deadline=None, database=None)
    @given(st.sampled_from(["flip", "cut", "splice"]), st.lists(place, min_size=2, max_size=8), st.integers(0, 7))
    def damaged(how: str, places: list[int], bit: int) -> None:
        changed = bytearray(data)
        if how == "flip":
            for at in places:
                changed[at] ^= 1 << bit
        elif how == "cut":
            del changed[places[0] :]
        else:
            changed[places[0] : places[0] + 40] = data[places[1] : places[1] + 40]
        try:
            decode(bytes(changed))
        except ContentError as error:
            assert error.code.split("_", 1)[1] in CODES, error.code  # noqa: PT017 (a result is right as well)

    damaged()


def test_a_codec_without_decoder_is_refused() -> None:
    data = clip("mp4", "libx264", 4)
    with pytest.raises(ContentError, match="no decoder here") as caught:
        decode_video(data.replace(b"avc1", b"zzzz"), LIMITS, size=16, max_frames=2)
    assert caught.value.code == "video_undecodable"

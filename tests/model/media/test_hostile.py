"""Hostile media end in a typed error or a result, within bounded memory and time."""

import io
import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from PIL import Image

from model.encoder import Limits
from model.errors import ContentError
from model.media.audio import decode_audio
from model.media.containers import jpeg_scans
from model.media.image import MAX_SCANS, decode_image
from model.media.video import decode_video
from tests.conftest import encoded
from tests.model.media.test_image import chunk

LIMITS = Limits(max_image_pixels=4_000_000)
MEGABYTE = 1 << 20


def peak_growth(work: Callable[[], object]) -> tuple[object, int]:
    """What ``work`` gives or how it fails, and by how many bytes the peak of resident memory exceeded the start."""

    def status(name: str) -> int:
        with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123
            return 1024 * next(int(line.split()[1]) for line in file if line.startswith(name))

    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:  # noqa: PTH123 (resets the peak)
        file.write("5")
    before = status("VmRSS")
    try:
        result = work()
    except ContentError as error:
        result = error.code
    return result, status("VmHWM") - before


def png_of(side: int) -> bytes:
    """A black square in one bit a pixel: tiny, whatever the side."""
    packer = zlib.compressobj(9)
    rows = b"".join([packer.compress(b"\0" + bytes((side + 7) // 8)) for _ in range(side)]) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def png_with(name: bytes) -> bytes:
    """A small picture with 80 MB of packed words or of a colour profile."""
    plain = encoded(Image.new("RGB", (4, 4)), "PNG")
    return plain[:33] + chunk(name, b"k\0\0" + zlib.compress(bytes(80 * MEGABYTE), 1)) + plain[33:]


def gif_with(place: bytes, at: int) -> bytes:
    """A GIF of 10 x 10 pixels whose canvas or first frame says 65,535 x 65,535."""
    data = bytearray(encoded(Image.new("P", (10, 10)), "GIF"))
    start = data.index(place) + at
    data[start : start + 4] = b"\xff" * 4
    return bytes(data)


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is there again and again."""
    data = encoded(Image.new("L", (1000, 1000), 7), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda")) : -2]
    return data[:-2] + scan * count + b"\xff\xd9"


def silence(seconds: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(8000 * seconds, dtype=np.int16), 8000, format="FLAC")
    return buffer.getvalue()


PICTURES = {
    "20,000 pixels a side": (lambda: png_of(20_000), "image_too_large"),
    "packed words": (lambda: png_with(b"zTXt"), "image_undecodable"),
    "packed colour profile": (lambda: png_with(b"iCCP"), "image_undecodable"),
    "canvas of a GIF": (lambda: gif_with(b"GIF8", 6), "image_too_large"),
    "frame of a GIF": (lambda: gif_with(b"\x2c\0\0\0\0", 5), "image_too_large"),
    "scans of a JPEG": (lambda: many_scans(50_000), "image_too_complex"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", PICTURES)
def test_bombs_are_refused_before_they_cost_anything(name: str) -> None:
    make, code = PICTURES[name]
    data = make()
    start = time.process_time()
    result, grown = peak_growth(lambda: decode_image(data, LIMITS, size=64))
    assert result == code
    assert grown < 30 * MEGABYTE
    assert time.process_time() - start < 2


@pytest.mark.parametrize("shape", [(1, 1), (20_000, 1), (1, 20_000), (20_000, 200)])
def test_extreme_shapes_are_pictures_like_others(shape: tuple[int, int]) -> None:
    data = encoded(Image.new("RGBA", shape, (9, 8, 7, 90)), "PNG")
    pixels, grown = peak_growth(lambda: decode_image(data, LIMITS, size=64))
    assert pixels.shape == (64, 64, 3)  # type: ignore[attr-defined]
    assert grown < 16 * LIMITS.max_image_pixels, "sixteen bytes for each pixel that the limit allows"


def test_scans_are_those_of_the_first_picture_alone() -> None:
    plain, progressive = (encoded(Image.new("RGB", (40, 40), 7), "JPEG", progressive=p) for p in (False, True))
    assert jpeg_scans(plain) == 1
    assert 5 < jpeg_scans(progressive) < 20
    telephone = plain + b"\xff\xda\xff\xc4" * 1000  # a clip behind the picture
    assert jpeg_scans(telephone) == 1
    assert decode_image(telephone, LIMITS, size=8).shape == (8, 8, 3)
    assert jpeg_scans(many_scans(MAX_SCANS)) > MAX_SCANS
    decode_image(many_scans(MAX_SCANS - 20), LIMITS, size=8)
    restarts = encoded(Image.effect_noise((80, 80), 90), "JPEG", restart_marker_blocks=1)
    assert b"\xff\xd0" in restarts
    assert jpeg_scans(restarts) == 1
    assert jpeg_scans(b"\xff" * 5_000_000 + b"\0") == 0


def test_sound_is_bounded_whatever_its_header_says() -> None:
    hours = silence(3600)
    assert len(hours) < MEGABYTE
    result, grown = peak_growth(lambda: decode_audio(hours, LIMITS))
    assert (result, grown < 30 * MEGABYTE) == ("audio_too_long", True)
    unknown = bytearray(silence(2))
    unknown[21] &= 0xF0
    unknown[22:26] = bytes(4)  # as an encoder leaves it that cannot seek back
    with pytest.raises(ContentError, match="does not tell its length"):
        decode_audio(bytes(unknown), LIMITS)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("value", [1e10, 3e38])
def test_samples_beyond_any_scale_are_refused(value: float, rate: int) -> None:
    """Resampled, the largest of float32 become NaN without a word."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.array([value, -value] * 800, dtype=np.float32), rate, format="WAV", subtype="FLOAT")
    with pytest.raises(ContentError) as caught:
        decode_audio(buffer.getvalue(), LIMITS)
    assert caught.value.code == "audio_not_finite"


def test_samples_of_an_unscaled_encoder_are_taken() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(1600, 32_767.0), 16_000, format="WAV", subtype="FLOAT")
    assert decode_audio(buffer.getvalue(), LIMITS).max() == 32_767


@pytest.mark.parametrize(("place", "at"), [(b"GIF8", 6), (b"\x2c\0\0\0\0", 5)])
def test_a_clip_of_huge_frames_costs_nothing(place: bytes, at: int) -> None:
    result, grown = peak_growth(lambda: decode_video(gif_with(place, at), LIMITS, size=32, max_frames=2))
    assert result == "video_too_large" or len(result) == 2, result  # type: ignore[arg-type]
    assert grown < 60 * MEGABYTE


def test_a_clip_of_one_pixel_is_a_clip() -> None:
    assert len(decode_video(encoded(Image.new("RGB", (1, 1)), "GIF"), LIMITS, size=32, max_frames=2).times_F) == 1

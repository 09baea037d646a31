import io

import av
import numpy as np
import pytest
import soundfile
from PIL import Image, ImageDraw

from data.sources.media import (
    SPEECH_RATE,
    SPEECH_SECONDS,
    crop_to_content,
    encode_mp4,
    encode_opus,
    encode_webp,
    read_speech,
    render_svg,
)
from data.sources.motion import MOTIONS, _frame

NOISE_T = np.random.default_rng(0).standard_normal(SPEECH_RATE).astype(np.float32) * 0.1


@pytest.mark.parametrize("length", [480, 959, 960, 9600 - 104, 9600, 9601, 16_000])
def test_opus_is_read_by_the_decoder_at_every_packet_edge(length: int) -> None:
    encoded = encode_opus(NOISE_T[:length])
    decoded_T, rate = soundfile.read(io.BytesIO(encoded))
    assert rate == SPEECH_RATE
    assert length - 960 < len(decoded_T) <= length + 104
    assert encoded == encode_opus(NOISE_T[:length])


def test_too_short_a_recording_is_an_error() -> None:
    with pytest.raises(ValueError, match="too short"):
        encode_opus(NOISE_T[:400])


def test_speech_is_trimmed_limited_and_levelled(tmp_path) -> None:
    wave_T = np.zeros(10 * 44_100, np.float32)
    wave_T[44_100 : 9 * 44_100] = 0.2 * np.sin(np.arange(8 * 44_100) * 0.05)
    path = tmp_path / "speech.wav"
    soundfile.write(path, wave_T, 44_100)
    samples_T = read_speech(path)
    assert len(samples_T) == SPEECH_SECONDS * SPEECH_RATE
    assert np.abs(samples_T).max() == pytest.approx(0.7, abs=0.01)
    assert np.abs(samples_T[: SPEECH_RATE // 10]).max() > 0.5


def test_silence_is_an_error(tmp_path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(8000, np.float32), 16_000)
    with pytest.raises(ValueError, match="silent"):
        read_speech(tmp_path / "silence.wav")


def test_webp_puts_transparency_over_white() -> None:
    picture = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    decoded = Image.open(io.BytesIO(encode_webp(picture)))
    assert decoded.mode == "RGB"
    assert min(decoded.getpixel((8, 8))) > 250


def moving(seed: int, motion: str) -> np.ndarray:
    """Frames of a drawing of round shapes."""
    rng = np.random.default_rng(seed)
    drawing = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    for _ in range(12):
        (x, y), (w, h) = rng.integers(0, 180, 2).tolist(), rng.integers(20, 76, 2).tolist()
        ImageDraw.Draw(drawing).ellipse([x, y, x + w, y + h], fill=(*rng.integers(0, 255, 3).tolist(), 255))
    return np.stack([_frame(drawing, "#dbe9f6", 58, (3, -2), MOTIONS[motion](t / 15)) for t in range(16)])


def test_a_clip_has_the_same_bytes_each_time() -> None:
    """Without ``cpu-independent`` each of these came out in two ways within twenty times."""
    for seed, motion in ((0, "right"), (4, "right"), (4, "shrink")):
        frames_THW3 = moving(seed, motion)
        assert len({encode_mp4(frames_THW3, 8) for _ in range(20)}) == 1


def test_mp4_keeps_frames_order_and_bytes() -> None:
    frames_THW3 = np.stack([np.full((32, 32, 3), 16 * i + 8, np.uint8) for i in range(16)])
    encoded = encode_mp4(frames_THW3, 8)
    assert encoded == encode_mp4(frames_THW3, 8)
    with av.open(io.BytesIO(encoded)) as container:
        levels = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
        assert container.duration == 2_000_000
    assert np.allclose(levels, 16 * np.arange(16) + 8, atol=6)


@pytest.mark.parametrize("size", ['width="40pt" height="20pt"', 'viewBox="0 0 50 25"', 'width="2cm" height="1cm"'])
def test_svg_in_print_units_renders_in_proportion(size: str) -> None:
    svg = f'<svg {size} xmlns="http://www.w3.org/2000/svg"><rect width="500" height="500" fill="red"/></svg>'
    picture = render_svg(svg, 64)
    assert picture.width == 64
    assert picture.height == pytest.approx(32, abs=1)
    assert picture.getpixel((60, 28)) == (255, 0, 0, 255)


def test_crop_removes_only_the_transparent_margin() -> None:
    picture = Image.new("RGBA", (20, 20))
    picture.paste((1, 2, 3, 255), (5, 6, 9, 16))
    assert crop_to_content(picture).size == (4, 10)
    assert crop_to_content(Image.new("RGBA", (3, 3))).size == (3, 3)

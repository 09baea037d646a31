import io

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.encoder import Limits
from model.errors import ContentError
from model.media.ffmpeg import read_clip
from model.media.image import decode_image
from model.media.video import choose_times, decode_video, pictures_at, spread, times_of_frames

LIMITS = Limits()
CODECS = [("mp4", "libx264"), ("mp4", "mpeg4"), ("webm", "libvpx-vp9")]


def clip(container: str = "mp4", codec: str = "mpeg4", frames: int = 20, rate: int = 10) -> bytes:
    """A grey that grows lighter by 10 with each frame; 64 x 48 pixels."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(frames):
            picture = np.full((48, 64, 3), 20 + 10 * i, dtype=np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    return buffer.getvalue()


def gif(frames: int = 20, **options: object) -> bytes:
    pictures = [Image.new("RGB", (64, 48), (20 + 10 * i,) * 3) for i in range(frames)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=100, **options)
    return buffer.getvalue()


def grey(frames: np.ndarray) -> np.ndarray:
    """Grey level in the middle of each frame."""
    return frames[:, frames.shape[1] // 2, frames.shape[2] // 2].astype(float).mean(axis=1)


@pytest.mark.parametrize(("container", "codec"), [*CODECS, ("gif", "")])
def test_frames_are_the_middles_of_equal_parts(container: str, codec: str) -> None:
    data = gif() if container == "gif" else clip(container, codec)
    frames, times = decode_video(data, LIMITS, size=32, max_frames=4)
    assert frames.shape == (4, 32, 32, 3)
    assert frames.dtype == np.uint8
    np.testing.assert_allclose(times, [0.2, 0.7, 1.2, 1.7], atol=0.01)
    np.testing.assert_allclose(grey(frames), [40, 90, 140, 190], atol=4)


def test_a_short_clip_gives_all_its_frames_in_order() -> None:
    frames, times = decode_video(clip(frames=3), LIMITS, size=16, max_frames=8)
    assert len(frames) == len(times) == 3
    assert (np.diff(grey(frames)) > 5).all()


@pytest.mark.parametrize("max_frames", [1, 3, 5, 20, 64])
def test_the_index_tells_the_number_of_frames(max_frames: int) -> None:
    data = clip()
    frames, times = decode_video(data, LIMITS, size=16, max_frames=max_frames)
    assert len(frames) == len(times) == len(times_of_frames(read_clip(data, LIMITS), max_frames, None)) <= max_frames


def test_pictures_are_as_large_as_the_clip_has_them() -> None:
    found = read_clip(clip(), LIMITS)
    assert {picture.size for picture in pictures_at(found, LIMITS, found.times[:3])} == {(64, 48)}
    with pytest.raises(ContentError, match="yields 1 of the 2 frames"):
        list(pictures_at(found, LIMITS, [found.times[0], found.times[-1] + 9]))


@given(count=st.integers(0, 16), total=st.integers(1, 256))
def test_stills_are_spread_evenly(count: int, total: int) -> None:
    places = spread(count, total)
    assert len(places) == min(count, total)
    assert places == sorted(set(places))
    assert all(0 <= place < total for place in places)
    edges = [0, *places, total - 1]
    if places:
        assert max(np.diff(edges)) <= total / len(places) + 1, "no part of the clip goes without one"


@given(
    gaps=st.lists(st.floats(0.01, 2.0), min_size=0, max_size=60), max_frames=st.integers(1, 12), hold=st.floats(0, 3)
)
def test_chosen_times_are_sorted_distinct_and_few(gaps: list[float], max_frames: int, hold: float) -> None:
    times = np.cumsum([0.5, *gaps]).tolist()
    chosen = choose_times(times, times[-1] - times[0] + hold, max_frames)
    assert 1 <= len(chosen) <= max_frames
    assert set(chosen) <= set(times)
    assert chosen == sorted(set(chosen))


def test_a_still_in_a_clip_looks_like_the_still() -> None:
    picture = Image.new("RGB", (64, 48), (0, 128, 255))
    still, moving = io.BytesIO(), io.BytesIO()
    picture.save(still, "PNG")
    picture.save(moving, "GIF")
    frames, _ = decode_video(moving.getvalue(), LIMITS, size=32, max_frames=4)
    np.testing.assert_allclose(frames[0].astype(int), decode_image(still.getvalue(), LIMITS, size=32), atol=4)


def test_transparent_gifs_are_laid_over_white() -> None:
    buffer = io.BytesIO()
    pictures = [Image.new("RGBA", (16, 16), (0, 0, 0, 0)) for _ in range(2)]
    for i, picture in enumerate(pictures):
        picture.paste((255, 0, 0, 255), (0, 0, 4 + 4 * i, 16))
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=100, disposal=2)
    frames, _ = decode_video(buffer.getvalue(), LIMITS, size=16, max_frames=2)
    np.testing.assert_array_equal(frames[:, 8, 14], 255)
    np.testing.assert_array_equal(frames[:, 8, 1], [(255, 0, 0)] * len(frames))


@pytest.mark.parametrize(("container", "codec"), [*CODECS, ("gif", "")])
def test_a_cut_file_is_refused_wherever_it_is_cut(container: str, codec: str) -> None:
    data = gif() if container == "gif" else clip(container, codec)
    for length in range(0, len(data), max(1, len(data) // 25)):
        with pytest.raises(ContentError) as caught:
            decode_video(data[:length], LIMITS, size=16, max_frames=4)
        assert caught.value.code in {"video_truncated", "video_unsupported"}


@pytest.mark.parametrize("make", [clip, gif])
def test_limits_hold_before_any_frame_is_decoded(make, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make()
    decode_video(data, Limits(max_video_seconds=2.0, max_video_pixels=64 * 48), size=16, max_frames=2)
    monkeypatch.setattr("model.media.video._decode", lambda *_: pytest.fail("frames were decoded"))
    with pytest.raises(ContentError) as caught:
        decode_video(data, Limits(max_video_seconds=1.8), size=16, max_frames=2)
    assert (caught.value.code, caught.value.limit) == ("video_too_long", "max_video_seconds")
    with pytest.raises(ContentError, match="64 x 48") as caught:
        decode_video(data, Limits(max_video_pixels=64 * 48 - 1), size=16, max_frames=2)
    assert (caught.value.code, caught.value.limit) == ("video_too_large", "max_video_pixels")


def test_sound_without_pictures_is_refused() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.rate = 16_000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with pytest.raises(ContentError, match="no video stream") as caught:
        decode_video(buffer.getvalue(), LIMITS, size=16, max_frames=2)
    assert caught.value.code == "video_undecodable"


def test_damaged_pictures_are_refused_or_decoded_but_never_crash() -> None:
    data = bytearray(clip())
    start = data.index(b"mdat") + 4
    rng, outcomes = np.random.default_rng(0), set()
    for _ in range(10):
        damaged = bytearray(data)
        damaged[start : start + 300] = rng.integers(0, 256, 300, dtype=np.uint8).tobytes()
        try:
            frames, _ = decode_video(bytes(damaged), LIMITS, size=16, max_frames=4)
        except ContentError as error:
            outcomes.add(error.code)
        else:
            outcomes.add(f"{len(frames)} frames")
    assert outcomes <= {"video_undecodable", "video_truncated", "4 frames"}

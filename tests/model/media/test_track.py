"""The sound of a clip lies on the time line of its pictures, and nobody decodes hours of it to get there."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from model.encoder import Limits
from model.errors import ContentError
from model.media.ffmpeg import read_clip
from model.media.track import decode_track

RATE = 48_000


def clip(begin: float, seconds: float) -> bytes:
    """Two seconds of pictures from ``begin`` on; a tone of ``seconds`` from 0 on; an index that tells no duration."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm", options={"live": "1"}) as container:
        pictures = container.add_stream("libvpx", rate=4)
        pictures.width = pictures.height = 32
        pictures.pix_fmt = "yuv420p"
        sound = container.add_stream("libopus", rate=RATE, layout="mono")
        packets = []
        for i in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 30 * i, dtype=np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(4 * begin) + i, Fraction(1, 4)
            packets += pictures.encode(frame)
        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)
        wave = av.AudioFrame.from_ndarray(tone.astype(np.float32)[None], format="fltp", layout="mono")
        wave.sample_rate, wave.pts, wave.time_base = RATE, 0, Fraction(1, RATE)
        packets += [*sound.encode(wave), *sound.encode(), *pictures.encode()]
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            container.mux(packet)
    return buffer.getvalue()


@pytest.mark.parametrize("begin", [0.0, 1.0])
def test_sound_before_the_pictures_is_cut(begin: float) -> None:
    limits = Limits()
    track_N = decode_track(read_clip(clip(begin, 2.0), limits), limits)
    assert len(track_N) == pytest.approx(32_000, abs=4_000)
    left = round((2.0 - begin) * 16_000)  # of the tone, from the first picture on
    assert np.abs(track_N[1_000 : left - 1_000]).max() > 0.3
    assert np.abs(track_N[left + 1_000 :]).max(initial=0) < 0.05


def test_sound_that_begins_long_before_the_pictures_is_refused_at_its_first_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = Limits(max_video_seconds=5)
    found = read_clip(clip(7.0, 0.5), limits)  # the index tells of the pictures alone
    laid = []
    monkeypatch.setattr("model.media.track._put", lambda *_: laid.append(1) or 1 << 60)
    with pytest.raises(ContentError, match=r"begins 7\.\d s before its pictures; at most 5 s") as caught:
        decode_track(found, limits)
    assert (caught.value.code, caught.value.limit) == ("video_too_long", "max_video_seconds")
    assert not laid
    decode_track(found, Limits(max_video_seconds=8))

"""The sound of a clip on the clip's own time line, so that its length is known before it is decoded.

Shape legend: N samples, C channels.
"""

from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from model.encoder import Limits
from model.errors import ContentError
from model.media.ffmpeg import Clip, check_codec, ffmpeg_errors, open_clip
from model.media.mel import SAMPLE_RATE


def track_samples(clip: Clip) -> int:
    """Length of the track at 16 kHz: that of the pictures; 0 when the clip has no sound."""
    return round(clip.seconds * SAMPLE_RATE) if clip.has_sound else 0


def decode_track(clip: Clip, limits: Limits) -> NDArray[np.float32]:
    """Mono sound at 16 kHz from the first frame to the end of the last one, silent where the track has nothing.

    Returns:
        float32 array of shape [N]; N is :func:`track_samples`.

    Raises:
        ContentError: ``video_undecodable``, or ``video_too_long`` when the sound begins too long before the pictures.
    """
    track_N = np.zeros(track_samples(clip), dtype=np.float32)
    if len(track_N):
        with ffmpeg_errors(clip.data, clip.container), open_clip(clip.data, clip.container, limits) as file:
            _fill(track_N, file, clip.times[0], limits)
    if not np.isfinite(track_N).all():
        raise ContentError("the sound of the video holds NaN or infinite samples", code="video_undecodable")
    return track_N


def _fill(track_N: NDArray[np.float32], file: Any, begin: float, limits: Limits) -> None:
    stream = file.streams.audio[0]
    check_codec(stream)
    stream.codec_context.thread_count = 1
    # The layout stays, so that channels are averaged here as they are for sound files.
    resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
    at: int | None = None
    for frame in file.decode(stream):
        if at is None:
            at = round(((frame.time or 0.0) - begin) * SAMPLE_RATE)
            _check_start(-at / SAMPLE_RATE, limits)
        for piece in resampler.resample(frame):
            at = _put(track_N, piece, at)
        if at >= len(track_N):
            return
    if at is not None:
        for piece in resampler.resample(None):
            at = _put(track_N, piece, at)


def _check_start(before: float, limits: Limits) -> None:
    """Refuse sound that would be decoded for hours before it meets the first picture; not every index tells of it."""
    if before > limits.max_video_seconds:
        raise ContentError(
            f"the sound of the video begins {before:.1f} s before its pictures; at most {limits.max_video_seconds:g} s "
            "are accepted: cut it to the length of the pictures",
            code="video_too_long",
            limit="max_video_seconds",
        )


def _put(track_N: NDArray[np.float32], piece: Any, at: int) -> int:
    """Lay the mean of the channels at ``at``, what falls outside is cut; returns where the next piece goes."""
    wave_N = piece.to_ndarray().mean(axis=0, dtype=np.float32)
    end = at + len(wave_N)
    first, last = max(at, 0), min(end, len(track_N))
    if first < last:
        track_N[first:last] = wave_N[first - at : last - at]
    return end

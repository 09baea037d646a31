"""Video: encoded bytes to a few square frames, sampled uniformly over the duration.

Shape legend: F frames, S x S pixels, 3 colours.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.encoder import Limits
from model.errors import ContentError
from model.media.ffmpeg import Clip, ffmpeg_errors, open_clip, picture_stream, read_clip
from model.media.image import fit_square

QUARTER_TURN = 90


class Video(NamedTuple):
    """Sampled frames, shape [F, S, S, 3] uint8, and their times [F] in seconds from the first frame of the clip."""

    frames_FSS3: NDArray[np.uint8]
    times_F: NDArray[np.float64]


def decode_video(
    data: bytes, limits: Limits, *, size: int, max_frames: int, frames_per_second: float | None = None
) -> Video:
    """Decode an MP4, WebM or GIF and take a few frames, the middles of equal parts of the duration.

    Length and resolution are checked on the index of the file before any frame is decoded. Frames are decoded in
    order up to the last one taken and fitted like images (:func:`model.media.image.fit_square`).

    Args:
        data: the file.
        limits: bytes, seconds and pixels are checked.
        size: side of the square in pixels.
        max_frames: how many frames to take at most.
        frames_per_second: with it a short clip gives fewer frames, one for each ``1 / frames_per_second`` begun.

    Raises:
        ContentError: ``video_unsupported``, ``video_too_large`` (bytes or pixels), ``video_too_long``,
            ``video_truncated``, ``video_empty`` or ``video_undecodable``.
    """
    return sample_frames(
        read_clip(data, limits), limits, size=size, max_frames=max_frames, frames_per_second=frames_per_second
    )


def sample_frames(
    clip: Clip, limits: Limits, *, size: int, max_frames: int, frames_per_second: float | None = None
) -> Video:
    """As :func:`decode_video`, of a clip whose index was read before."""
    chosen = times_of_frames(clip, max_frames, frames_per_second)
    frames = [fit_square(picture, size) for picture in pictures_at(clip, limits, chosen)]
    return Video(np.stack(frames), np.array(chosen) - clip.times[0])


def times_of_frames(clip: Clip, max_frames: int, frames_per_second: float | None) -> list[float]:
    """Times of the frames that :func:`sample_frames` takes, from the index alone."""
    return choose_times(clip.times, clip.seconds, frame_budget(clip.seconds, max_frames, frames_per_second))


def frame_budget(seconds: float, max_frames: int, frames_per_second: float | None) -> int:
    """Frames to take of a clip of ``seconds``: one for each interval begun, at least one, at most ``max_frames``."""
    if frames_per_second is None:
        return max_frames
    # A tolerance, so that rounding in the time base of the file does not begin another interval.
    return min(max_frames, max(1, math.ceil(seconds * frames_per_second - 1e-6)))


def choose_times(times: list[float], seconds: float, max_frames: int) -> list[float]:
    """Pick the frames shown at the middles of ``max_frames`` equal parts; all frames when there are no more.

    Args:
        times: sorted presentation times of all frames.
        seconds: duration, at least ``times[-1] - times[0]``.
        max_frames: how many to take at most, one or more.
    """
    if max_frames < 1:
        raise ValueError(f"max_frames={max_frames}: take at least one frame")
    if len(times) <= max_frames:
        return times
    middles = times[0] + (np.arange(max_frames) + 0.5) * seconds / max_frames
    # A tolerance, so that rounding in the time base of the file does not decide between neighbours.
    shown = np.searchsorted(np.array(times), middles + 1e-6, side="right") - 1
    return [times[i] for i in sorted(set(shown.tolist()))]


def spread(count: int, total: int) -> list[int]:
    """Places of at most ``count`` of ``total`` frames, the middles of equal parts."""
    count = min(count, total)
    return [(2 * i + 1) * total // (2 * count) for i in range(count)]


def pictures_at(clip: Clip, limits: Limits, times: list[float]) -> Iterator[Image.Image]:
    """The frames shown at ``times``, sorted, upright and of the size they have; one at a time, for they may be large.

    Raises:
        ContentError: ``video_undecodable``, when some cannot be had.
    """
    found = 0
    with ffmpeg_errors(clip.data, clip.container):
        for picture in _decode(clip, limits, times):
            found += 1
            yield picture
    if found < len(times):
        raise ContentError(
            f"the video ({clip.container}) yields {found} of the {len(times)} frames that its index promises",
            code="video_undecodable",
        )


def _decode(clip: Clip, limits: Limits, times: list[float]) -> Iterator[Image.Image]:
    wanted = list(times)
    with open_clip(clip.data, clip.container, limits) as file:
        for frame in file.decode(picture_stream(file, limits)):
            if frame.is_corrupt:
                raise ContentError(f"frame {frame.pts} of the video is damaged", code="video_undecodable")
            # Codecs may drop a frame, so a chosen time is met by the first frame at or after it.
            while wanted and frame.time is not None and frame.time >= wanted[0] - 1e-6:
                yield _upright(frame)
                wanted.pop(0)
            if not wanted:
                break


def _upright(frame: Any) -> Image.Image:
    has_alpha = any(component.is_alpha for component in frame.format.components)
    pixels = frame.to_ndarray(format="rgba" if has_alpha else "rgb24")
    if frame.rotation:
        pixels = np.rot90(pixels, round(frame.rotation / QUARTER_TURN))
    return Image.fromarray(np.ascontiguousarray(pixels))

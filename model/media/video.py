"""Video: encoded bytes to a few square frames, sampled uniformly over the duration.

Shape legend: F frames, S x S pixels, 3 colours.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.content import Modality
from model.encoder import Limits
from model.errors import ContentError
from model.media.containers import check_container
from model.media.image import fit_square

MAX_PACKETS = 20_000  # 120 s at 160 frames a second
QUARTER_TURN = 90


class Video(NamedTuple):
    """Sampled frames, shape [F, S, S, 3] uint8, and their times [F] in seconds from the first frame of the clip."""

    frames_FSS3: NDArray[np.uint8]
    times_F: NDArray[np.float64]


def decode_video(data: bytes, limits: Limits, *, size: int, max_frames: int) -> Video:
    """Decode an MP4, WebM or GIF and take at most ``max_frames`` frames, the middles of equal parts of the duration.

    Length and resolution are checked on the index of the file before any frame is decoded. Frames are decoded in
    order up to the last one taken and fitted like images (:func:`model.media.image.fit_square`).

    Raises:
        ContentError: ``video_unsupported``, ``video_too_large`` (bytes or pixels), ``video_too_long``,
            ``video_truncated``, ``video_empty`` or ``video_undecodable``.
    """
    container = check_container(data, Modality.VIDEO, limits)
    with _ffmpeg_errors(data, container):
        times, seconds = _index(data, container, limits)
        chosen = choose_times(times, seconds, max_frames)
        frames = _decode(data, container, chosen, size)
    if len(frames) < len(chosen):
        raise ContentError(
            f"the video ({container}) yields {len(frames)} of the {len(chosen)} frames that its index promises",
            code="video_undecodable",
        )
    return Video(np.stack(frames), np.array(chosen) - times[0])


def video_frame_count(data: bytes, limits: Limits, *, max_frames: int) -> int:
    """Number of frames that :func:`decode_video` will take, from the index alone.

    Raises:
        ContentError: as :func:`decode_video`, as far as the index tells.
    """
    container = check_container(data, Modality.VIDEO, limits)
    with _ffmpeg_errors(data, container):
        times, seconds = _index(data, container, limits)
    return len(choose_times(times, seconds, max_frames))


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


@contextmanager
def _ffmpeg_errors(data: bytes, container: str) -> Iterator[None]:
    try:
        yield
    except av.FFmpegError as error:
        raise ContentError(
            f"the video ({container}, {len(data)} bytes) cannot be decoded: {error}; encode it anew",
            code="video_undecodable",
        ) from error


def _open(data: bytes, container: str) -> Any:
    # The demuxer is fixed by the sniffed container, so formats that reference other files are out of reach.
    return av.open(io.BytesIO(data), format=container, metadata_errors="ignore")


def _stream(file: Any) -> Any:
    stream = next(iter(file.streams.video), None)
    if stream is None:
        raise ContentError("the file has no video stream: send it as audio", code="video_undecodable")
    stream.codec_context.thread_count = 1  # callers decode many clips side by side
    return stream


def _index(data: bytes, container: str, limits: Limits) -> tuple[list[float], float]:
    """Read all packets without decoding: sorted presentation times and duration in seconds."""
    with _open(data, container) as file:
        stream = _stream(file)
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > limits.max_video_pixels:
            raise ContentError(
                f"the video has frames of {width} x {height} pixels; at most {limits.max_video_pixels} in all are "
                "accepted: scale it down",
                code="video_too_large",
                limit="max_video_pixels",
            )
        if file.duration is not None:
            _check_seconds(file.duration / 1e6, limits)
        packets = _packets(file, stream, limits)
        promised = stream.frames
    if any(packet.is_corrupt for packet in packets) or len(packets) < promised:
        raise ContentError(
            f"the video ({container}) is damaged or cut: {len(packets)} packets, {promised} promised",
            code="video_truncated",
        )
    shown = [packet for packet in packets if not packet.is_discard]  # an edit list may hide the first ones
    if not shown:
        raise ContentError(f"the video ({container}) holds no frames", code="video_empty")
    times = sorted(float(packet.pts * packet.time_base) for packet in shown)
    end = max(float((packet.pts + (packet.duration or 0)) * packet.time_base) for packet in shown)
    _check_seconds(end - times[0], limits)
    return times, end - times[0]


def _packets(file: Any, stream: Any, limits: Limits) -> list[Any]:
    packets = []
    for packet in file.demux(stream):
        if packet.size > 0 and packet.pts is not None:
            packets.append(packet)
        if len(packets) > MAX_PACKETS:
            raise _too_long(f"more than {MAX_PACKETS} frames", limits)
    return packets


def _decode(data: bytes, container: str, chosen: list[float], size: int) -> list[NDArray[np.uint8]]:
    wanted = list(chosen)
    frames: list[NDArray[np.uint8]] = []
    with _open(data, container) as file:
        for frame in file.decode(_stream(file)):
            if frame.is_corrupt:
                raise ContentError(f"frame {frame.pts} of the video is damaged", code="video_undecodable")
            # Codecs may drop a frame, so a chosen time is met by the first frame at or after it.
            while wanted and frame.time is not None and frame.time >= wanted[0] - 1e-6:
                frames.append(_square(frame, size))
                wanted.pop(0)
            if not wanted:
                break
    return frames


def _square(frame: Any, size: int) -> NDArray[np.uint8]:
    has_alpha = any(component.is_alpha for component in frame.format.components)
    pixels = frame.to_ndarray(format="rgba" if has_alpha else "rgb24")
    if frame.rotation:
        pixels = np.rot90(pixels, round(frame.rotation / QUARTER_TURN))
    return fit_square(Image.fromarray(np.ascontiguousarray(pixels)), size)


def _check_seconds(seconds: float, limits: Limits) -> None:
    if seconds > limits.max_video_seconds:
        raise _too_long(f"{seconds:.1f} s", limits)


def _too_long(given: str, limits: Limits) -> ContentError:
    return ContentError(
        f"the video lasts {given}; at most {limits.max_video_seconds:g} s are accepted: cut it into pieces",
        code="video_too_long",
        limit="max_video_seconds",
    )

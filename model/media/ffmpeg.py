"""What FFmpeg tells of a clip before any frame is decoded, with its errors and appetites under control."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import av

from model.content import Modality
from model.encoder import Limits
from model.errors import ContentError
from model.media.containers import check_container

MAX_PACKETS = 20_000  # 120 s at 160 frames a second
SPARE_PIXELS = 65_536
SPARE_BYTES = 65_536  # demuxers add headers to what they read


class Clip(NamedTuple):
    """A clip that passed every check but decoding.

    Attributes:
        data: the encoded bytes.
        container: as :func:`model.media.containers.sniff` names it.
        times: sorted presentation times of all frames in seconds.
        seconds: duration, at least ``times[-1] - times[0]``.
        has_sound: whether there is an audio track.
        width: columns of a frame as stored.
        height: its rows.
    """

    data: bytes
    container: str
    times: list[float]
    seconds: float
    has_sound: bool
    width: int
    height: int


def read_clip(data: bytes, limits: Limits) -> Clip:
    """Check an MP4, WebM or GIF and read the times of its frames without decoding any.

    Raises:
        ContentError: ``video_unsupported``, ``video_too_large`` (bytes or pixels), ``video_too_long``,
            ``video_truncated``, ``video_empty`` or ``video_undecodable``.
    """
    container = check_container(data, Modality.VIDEO, limits)
    with ffmpeg_errors(data, container), open_clip(data, container, limits) as file:
        stream = picture_stream(file)
        width, height = stream.codec_context.width, stream.codec_context.height
        _check_picture(width, height, limits)
        if file.duration is not None:
            check_seconds(file.duration / 1e6, limits)
        times, end = _times(file, stream, container, limits)
        has_sound = bool(file.streams.audio)
    check_seconds(end - times[0], limits)
    return Clip(data, container, times, end - times[0], has_sound, width, height)


@contextmanager
def ffmpeg_errors(data: bytes, container: str) -> Iterator[None]:
    """Turn what FFmpeg raises into a ContentError."""
    try:
        yield
    except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, ContentError):
            raise
        raise ContentError(
            f"the video ({container}, {len(data)} bytes) cannot be decoded: {error}; encode it anew",
            code="video_undecodable",
        ) from error


def open_clip(data: bytes, container: str, limits: Limits) -> Any:
    """Open a clip for demuxing.

    The demuxer is fixed by the sniffed container, so formats that reference other files are out of reach. The bound on
    pixels holds inside the decoders too: a stream may be larger than its container says.
    """
    return av.open(io.BytesIO(data), format=container, metadata_errors="ignore", options=_decoder_options(limits))


def picture_stream(file: Any, limits: Limits | None = None) -> Any:
    """The first video stream, on one thread: callers decode many clips side by side."""
    stream = next(iter(file.streams.video), None)
    if stream is None:
        raise ContentError("the file has no video stream: send it as audio", code="video_undecodable")
    check_codec(stream)
    stream.codec_context.thread_count = 1
    if limits is not None:
        stream.codec_context.options = _decoder_options(limits)
    return stream


def _decoder_options(limits: Limits) -> dict[str, str]:
    # Decoders count their padding too, hence twice the limit and a little; the stated size is checked to the pixel.
    return {"max_pixels": str(2 * limits.max_video_pixels + SPARE_PIXELS)}


def check_codec(stream: Any) -> None:
    """Refuse a stream that no decoder here can read."""
    if stream.codec_context is None:
        raise ContentError(
            f"the {stream.type} stream of the video has no decoder here: encode it anew as H.264 or VP9",
            code="video_undecodable",
        )


def check_seconds(seconds: float, limits: Limits) -> None:
    """Refuse a clip that lasts too long."""
    if seconds > limits.max_video_seconds:
        raise _too_long(f"{seconds:.1f} s", limits)


def _check_picture(width: int, height: int, limits: Limits) -> None:
    # FFmpeg forgets the size of a stream when it refuses to open its decoder for too many pixels.
    if not 0 < width * height <= limits.max_video_pixels:
        given = f"{width} x {height}" if width * height else "too many"
        raise ContentError(
            f"the video has frames of {given} pixels; at most {limits.max_video_pixels} in all are accepted: "
            "scale it down",
            code="video_too_large",
            limit="max_video_pixels",
        )


def _times(file: Any, stream: Any, container: str, limits: Limits) -> tuple[list[float], float]:
    """Sorted presentation times of the frames that are shown, and the end of the last."""
    shown: list[float] = []
    count, size, end, corrupt = 0, 0, -math.inf, False
    for packet in file.demux(stream):  # packets are not kept: they may all be one large piece of the file
        size += packet.size
        if packet.size > 0 and packet.pts is not None:
            count += 1
            corrupt |= packet.is_corrupt
            if not packet.is_discard:  # an edit list may hide the first ones
                shown.append(float(packet.pts * packet.time_base))
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if count > MAX_PACKETS:
            raise _too_long(f"more than {MAX_PACKETS} frames", limits)
        if size > byte_limit(file):
            raise ContentError(
                f"the index of the video ({container}) refers to more bytes than the file has: encode it anew",
                code="video_undecodable",
            )
    if corrupt or count < stream.frames:
        raise ContentError(
            f"the video ({container}) is damaged or cut: {count} packets, {stream.frames} promised",
            code="video_truncated",
        )
    if not shown:
        raise ContentError(f"the video ({container}) holds no frames", code="video_empty")
    shown.sort()
    return shown, max(end, shown[-1])


def byte_limit(file: Any) -> int:
    """Bytes that the packets of one stream of an honest file can have at most."""
    return int(file.size) + SPARE_BYTES


def _too_long(given: str, limits: Limits) -> ContentError:
    return ContentError(
        f"the video lasts {given}; at most {limits.max_video_seconds:g} s are accepted: cut it into pieces",
        code="video_too_long",
        limit="max_video_seconds",
    )

"""What encoded media are, told by their first bytes, and whether they are all there, told by their own length fields.

Decoders are lenient: they conceal a missing tail. A vector of half a clip is wrong without anybody noticing, so
truncated media are refused before decoding.
"""

import re
import struct
from collections.abc import Callable

from model.content import Modality
from model.encoder import Limits
from model.errors import ContentError

ALLOWED: dict[Modality, tuple[str, ...]] = {
    Modality.IMAGE: ("png", "jpeg", "webp", "gif"),
    Modality.AUDIO: ("wav", "flac", "ogg", "mp3"),
    Modality.VIDEO: ("mp4", "webm", "gif"),
    Modality.DOCUMENT: ("pdf",),
}
# ISO base media files that are still pictures or sound, by their major brand.
NOT_VIDEO_BRANDS = {b"avif": "avif", b"heic": "heic", b"heix": "heic", b"mif1": "heif", b"M4A ": "m4a", b"M4B ": "m4a"}
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
MP3_RATES = (44_100, 48_000, 32_000)
MP3_RATE_SHIFT = {3: 0, 2: 1, 0: 2}  # MPEG 1, 2, 2.5
MP3_BITRATES_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MP3_BITRATES_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
PDF_TAIL = 1024
# Marker of a JPEG segment: not a stuffed zero, not a restart, which stand inside entropy-coded data.
JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
JPEG_END, JPEG_SCAN, JPEG_BARE = 0xD9, 0xDA, (0x01, 0xD8)  # the bare ones have no length
STREAMED_SIZE = 0xFFFFFFFF  # written into a WAV header by encoders that cannot seek back


def check_container(data: bytes, modality: Modality, limits: Limits) -> str:
    """Return the container of ``data`` after checking size, kind and completeness; nothing is decoded.

    Raises:
        ContentError: ``<modality>_too_large``, ``<modality>_unsupported`` or ``<modality>_truncated``.
    """
    if len(data) > limits.max_media_bytes:
        raise ContentError(
            f"the {modality} has {len(data)} bytes; at most {limits.max_media_bytes} are accepted: compress or cut it",
            code=f"{modality}_too_large",
            limit="max_media_bytes",
        )
    container = sniff(data)
    if container not in ALLOWED[modality]:
        raise ContentError(
            f"the {modality} part holds {container or 'bytes of no known format'} "
            f"({len(data)} bytes, starting {data[:8].hex() or 'with nothing'}); accepted: "
            f"{', '.join(ALLOWED[modality])}",
            code=f"{modality}_unsupported",
        )
    if not COMPLETE.get(container, _always)(data):
        raise ContentError(
            f"the {modality} ({container}, {len(data)} bytes) ends before its own header says it does: send it whole",
            code=f"{modality}_truncated",
        )
    return container


def sniff(data: bytes) -> str | None:
    """Name the container by its magic bytes, or ``None``."""
    for offset, magic, name in SIGNATURES:
        if data[offset : offset + len(magic)] == magic:
            return name
    if data[:4] == b"RIFF":
        return {b"WEBP": "webp", b"WAVE": "wav", b"AVI ": "avi"}.get(data[8:12])
    if data[4:8] == b"ftyp":
        return NOT_VIDEO_BRANDS.get(data[8:12], "mp4")
    if data[:4] == EBML:
        return "webm" if b"webm" in data[:64] else "matroska"
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06 == 0x02:
        return "mp3"
    return None


SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
    (0, b"%PDF", "pdf"),
    (0, b"BM", "bmp"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
)


def _always(_: bytes) -> bool:
    return True


def jpeg_scans(data: bytes) -> int:
    """Scans of the first picture in a JPEG; what follows it (a preview, a clip of a telephone) does not count."""
    at = scans = 0
    while (found := JPEG_MARKER.search(data, at)) is not None:
        marker, at = found[1][0], found.end()
        if marker == JPEG_END:
            break
        if marker not in JPEG_BARE:
            scans += marker == JPEG_SCAN
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return scans


def _png(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + size
    return False


def _gif(data: bytes) -> bool:
    return data.rstrip(b"\0")[-1:] == b";"


def _riff(data: bytes) -> bool:
    return len(data) >= 8 and int.from_bytes(data[4:8], "little") + 8 <= len(data)


def _wav(data: bytes) -> bool:
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"data":
            return bool(size == STREAMED_SIZE or at + 8 + size <= len(data))
        at += 8 + size + size % 2
    return False


def _ogg(data: bytes) -> bool:
    """Whole pages up to the end, the last of which carries the end-of-stream flag."""
    at, ended = 0, False
    while at < len(data):
        if data[at : at + 4] != b"OggS" or at + 27 > len(data):
            return False
        segments = data[at + 27 : at + 27 + data[at + 26]]
        ended = bool(data[at + 5] & 4)
        if len(segments) < data[at + 26]:
            return False
        at += 27 + len(segments) + sum(segments)
    return ended and at == len(data)


def _mp3(data: bytes) -> bool:
    """Frames whose last one is whole, and as many as the Xing header counts, if there is one."""
    at, frames, promised = _after_id3(data), 0, 0
    while (size := _mp3_frame_size(data[at : at + 4])) > 0:
        if at + size > len(data):
            return False
        if frames == 0:
            promised = _xing_frames(data[at : at + size])
        at, frames = at + size, frames + 1
    return 0 < frames >= promised


def _after_id3(data: bytes) -> int:
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _mp3_frame_size(header: bytes) -> int:
    """Bytes of the layer III frame that starts with ``header``; 0 if none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, rate_index, bitrate_index = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or rate_index == 3 or bitrate_index in (0, 15):
        return 0
    rate = MP3_RATES[rate_index] >> MP3_RATE_SHIFT[version]
    coefficient, bitrates = (144, MP3_BITRATES_1) if version == 3 else (72, MP3_BITRATES_2)
    return coefficient * bitrates[bitrate_index - 1] * 1000 // rate + (header[2] >> 1 & 1)


def _xing_frames(frame: bytes) -> int:
    """Frames that follow this one according to its Xing or Info header; 0 if it says nothing."""
    at = max(frame.find(b"Xing", 0, 64), frame.find(b"Info", 0, 64))
    if at < 0 or len(frame) < at + 12 or not frame[at + 7] & 1:
        return 0
    return int(struct.unpack_from(">I", frame, at + 8)[0])


def _mp4(data: bytes) -> bool:
    """Top-level boxes that tile the file, one of them the index."""
    at, indexed = 0, False
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
        elif size == 0:  # up to the end of the file
            size = len(data) - at
        if size < 8:
            return False
        indexed |= name == b"moov"
        at += size
    return indexed and at == len(data)


def _webm(data: bytes) -> bool:
    """A segment whose size, when it is told, fits in the file."""
    header = _vint(data, 4)
    if header is None:
        return False
    at = header[0] + header[1]
    if data[at : at + 4] != SEGMENT:
        return False
    segment = _vint(data, at + 4)
    if segment is None:
        return False
    start, size = segment
    return size < 0 or start + size <= len(data)


def _pdf(data: bytes) -> bool:
    """An end mark near the end, before which some writers leave a little padding; renderers guess at what is cut."""
    return b"%%EOF" in data[-PDF_TAIL:]


def _vint(data: bytes, at: int) -> tuple[int, int] | None:
    """EBML number at ``at``: (position after it, value), -1 for the reserved "unknown"."""
    if at >= len(data) or data[at] == 0:
        return None
    length = 9 - data[at].bit_length()
    if at + length > len(data):
        return None
    value = int.from_bytes(data[at : at + length], "big") & ((1 << (7 * length)) - 1)
    return at + length, -1 if value == (1 << (7 * length)) - 1 else value


COMPLETE: dict[str, Callable[[bytes], bool]] = {
    "png": _png,
    "gif": _gif,
    "webp": _riff,
    "wav": _wav,
    "ogg": _ogg,
    "mp3": _mp3,
    "mp4": _mp4,
    "webm": _webm,
    "pdf": _pdf,
}

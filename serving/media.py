"""What encoded media are, judged by their first bytes and never by a header that the sender chose."""

from model.content import Modality

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mp3"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (0, b"%PDF-", "application/pdf"),
)

ACCEPTED: dict[Modality, tuple[str, ...]] = {
    Modality.IMAGE: ("image/png", "image/jpeg", "image/webp", "image/gif"),
    Modality.AUDIO: ("audio/wav", "audio/flac", "audio/ogg", "audio/mp3"),
    Modality.VIDEO: ("video/mp4", "video/webm", "image/gif"),
    Modality.DOCUMENT: ("application/pdf",),
}


def sniff(data: bytes) -> str | None:
    """Media type of encoded bytes from their signature, ``None`` when it is none that we know."""
    for offset, magic, media_type in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return media_type
    # An MPEG audio frame starts with eleven set bits, a version other than "reserved" and layer III.
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2 and data[1] & 0x18 != 0x08:
        return "audio/mp3"
    return None

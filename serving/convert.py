"""From wire objects to contents: limits are checked, then base64 is decoded, or a URL fetched where that is allowed.

What the bytes are is judged later by the encoder, from the bytes alone; the media type that was sent is ignored.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Any

from model.content import Content, Modality, Part
from model.encoder import Limits
from model.errors import ContentError
from serving.schemas import (
    AUDIO_FORMATS,
    AudioPart,
    ContentObject,
    FilePart,
    ImagePart,
    TextPart,
    VideoPart,
)

Fetch = Callable[[str, int], bytes]
AnyWirePart = TextPart | ImagePart | AudioPart | VideoPart | FilePart


def to_content(item: str | ContentObject, *, task: str | None, limits: Limits, fetch: Fetch | None = None) -> Content:
    """Make one content from one item of a request.

    Args:
        item: a string (one text part) or a content object.
        task: the request's task, a prefix that the encoder knows.
        limits: of the encoder; bytes of a part are checked before they are decoded.
        fetch: bytes of a URL, given the most that are accepted; None refuses URLs.

    Raises:
        ContentError: a part is malformed, too large, or elsewhere and may not or cannot be fetched.
    """
    if isinstance(item, str):
        return Content.of(item, task=task)
    check_parts(len(item.content), limits)
    return Content(
        tuple(_part(part, limits.max_media_bytes, fetch) for part in item.content), task=task, title=item.title
    )


def check_parts(count: int, limits: Limits) -> None:
    """Refuse more parts than one content may have.

    Raises:
        ContentError: naming the limit.
    """
    if count > limits.max_parts:
        raise ContentError(
            f"{count} parts are more than the {limits.max_parts} that one content may have",
            code="too_many_parts",
            limit="max_parts",
        )


def _text(part: TextPart, limit: int, fetch: Fetch | None) -> Part:
    return Part(Modality.TEXT, text=part.text)


def _image(part: ImagePart, limit: int, fetch: Fetch | None) -> Part:
    return media_at(Modality.IMAGE, part.image_url.url, limit, fetch)


def _video(part: VideoPart, limit: int, fetch: Fetch | None) -> Part:
    return media_at(Modality.VIDEO, part.video_url.url, limit, fetch)


def _file(part: FilePart, limit: int, fetch: Fetch | None) -> Part:
    return media_at(Modality.DOCUMENT, part.file.file_data, limit, fetch)


def _audio(part: AudioPart, limit: int, fetch: Fetch | None) -> Part:
    if part.input_audio.format not in AUDIO_FORMATS:
        raise ContentError(
            f"audio format {part.input_audio.format[:20]!r} is not one of {', '.join(AUDIO_FORMATS)}",
            code="unsupported_media_type",
        )
    data = part.input_audio.data
    is_uri = ":" in data[:16]  # no letter of base64
    return media_at(Modality.AUDIO, data, limit, fetch) if is_uri else media_part(Modality.AUDIO, data, limit)


_MAKERS: dict[type[AnyWirePart], Callable[[Any, int, Fetch | None], Part]] = {
    TextPart: _text,
    ImagePart: _image,
    AudioPart: _audio,
    VideoPart: _video,
    FilePart: _file,
}


def _part(part: AnyWirePart, limit: int, fetch: Fetch | None) -> Part:
    return _MAKERS[type(part)](part, limit, fetch)


def media_at(modality: Modality, uri: str, limit: int, fetch: Fetch | None) -> Part:
    """A media part from a ``data:`` URI, or from elsewhere where that is allowed.

    Raises:
        ContentError: malformed, too large, or elsewhere and may not or cannot be fetched.
    """
    scheme = uri[:16].split(":", 1)[0].lower()
    if scheme == "data":
        return media_part(modality, _payload(uri), limit)
    if fetch is None:
        raise ContentError(
            f"only data: URIs are accepted, this one starts with {scheme[:8]!r}; the service fetches no URL: "
            "send the bytes as data:<type>;base64,<...>",
            code="remote_url_refused",
        )
    return Part(modality, data=fetch(uri, limit))


def _payload(uri: str) -> str:
    """The base64 text of a ``data:`` URI."""
    header, comma, payload = uri.partition(",")
    if not comma or not header.lower().endswith(";base64"):
        raise ContentError("a data: URI must read data:<type>;base64,<...>", code="malformed_part")
    return payload


def media_part(modality: Modality, payload: str, limit: int) -> Part:
    """A media part from its base64 text, in the standard alphabet or the one for URLs.

    Raises:
        ContentError: too large, or not base64.
    """
    # Checked before decoding: four characters carry at most three bytes, of which padding may take two.
    _check_size(modality, len(payload) // 4 * 3 - 2, limit)
    try:
        altchars = b"-_" if "-" in payload or "_" in payload else None  # Google's clients write the one for URLs
        data = base64.b64decode(payload, altchars, validate=True)
    except (binascii.Error, ValueError):
        raise ContentError(f"the {modality} part is not valid base64", code="malformed_part") from None
    _check_size(modality, len(data), limit)
    return Part(modality, data=data)


def _check_size(modality: Modality, size: int, limit: int) -> None:
    if size > limit:
        raise ContentError(
            f"the {modality} part has {size} bytes or more; at most {limit} are accepted",
            code=f"{modality}_too_large",
            limit="max_media_bytes",
        )

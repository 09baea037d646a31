"""Hostile requests that a plain HTTP client can send, each with the statuses that are a right answer to it."""

import gzip
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.soaking.media import hostile_media
from model.content import Content, Modality
from serving.client import to_item

JSON = {"content-type": "application/json"}
ROUTE = "/v1/embeddings"
PIECE = 1 << 16
BUSY = frozenset({429, 503, 504})
"""Right answers to anything under load."""

HARMLESS = frozenset({"pdf_trailing", "pdf_inflates", "mp4_liar"})
"""Media that a decoder may well read, without following their claims."""


@dataclass(frozen=True)
class Bad:
    """One hostile request.

    Attributes:
        name: of the kind.
        statuses: that are right beside ``BUSY``.
        content: the body, or something that makes its pieces, which go without a length.
        large: tens of megabytes, of which a few at a time are sent.
    """

    name: str
    statuses: frozenset[int]
    content: bytes | Callable[[], AsyncIterator[bytes]] = b""
    method: str = "POST"
    path: str = ROUTE
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)
    large: bool = False


def bad_requests(modalities: frozenset[Modality], body_bytes: int) -> list[Bad]:
    """Every kind, for a model of these modalities and a service with this limit on bodies."""
    return [*media_bodies(modalities), *json_bodies(), *odd_requests(), *large_bodies(body_bytes)]


def _body(**changes: Any) -> bytes:
    return json.dumps({"model": "omnivec", "input": "a", **changes}).encode()


def media_bodies(modalities: frozenset[Modality]) -> list[Bad]:
    """Media beside a good text, in one request."""
    found = []
    for name, part in hostile_media().items():
        statuses = {413, 415, 422} if part.modality in modalities else {415}
        if name in HARMLESS:
            statuses.add(200)
        item = to_item(Content((part,)))
        found.append(Bad(name, frozenset(statuses), _body(input=["a good text", item])))
    return found


def json_bodies() -> list[Bad]:
    """Bodies that are no JSON, or JSON of the wrong shape."""
    bad = {
        "deep_arrays": b"[" * 100_000,
        "deep_objects": b'{"input":' * 50_000,
        "deep_input": b'{"model":"omnivec","input":' + b"[" * 900 + b"]" * 900 + b"}",
        "nan": b'{"model":"omnivec","input":"a","dimensions":NaN}',
        "infinity": b'{"model":"omnivec","input":"a","dimensions":-Infinity}',
        "huge_number": b'{"model":"omnivec","input":"a","dimensions":1' + b"0" * 5000 + b"}",
        "invalid_utf8": b'{"model":"omnivec","input":"\xff\xfe\xc3"}',
        "half_surrogate": b'{"model":"omnivec","input":"\\ud800"}',
        "utf16": _body().decode().encode("utf-16"),
        "nothing": b"",
        "null": b"null",
        "cut": _body()[:-3],
        "token_ids": _body(input=list(range(90_000))),
        "lists_of_token_ids": _body(input=[[1, 2, 3]] * 60_000),
        "numbers": _body(input=1.5),
        "bools": _body(input=[True, None]),
        "empty_list": _body(input=[]),
        "empty_text": _body(input=["a", ""]),
        "unknown_part": _body(input={"content": [{"type": "hologram", "hologram": 1}]}),
        "no_base64": _body(input={"content": [{"type": "image_url", "image_url": {"url": "data:a;base64,%%%"}}]}),
        "remote": _body(input={"content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:22/"}}]}),
        "file_url": _body(input={"content": [{"type": "file", "file": {"file_data": "file:///etc/passwd"}}]}),
        "dimensions": _body(dimensions=-1),
        "duplicate_keys": b'{"model":"omnivec","input":"a","input":7}',
        "zero_byte_in_a_task": _body(task="\0"),
    }
    found = [Bad(name, frozenset({400}), content) for name, content in bad.items()]
    many = {"many_items": _body(input=["a"] * 5000), "many_values": _body(input=["a"] * 500_000)}
    many["long_lists"] = b'{"model":"omnivec","input":[' + b"[]," * 3_000_000 + b"[]]}"
    many["parts"] = _body(input={"content": [{"type": "text", "text": "a"}] * 5000})
    found.append(Bad("long_text", frozenset({200, 413}), _body(input="word " * 400_000)))  # cut, or refused
    return found + [Bad(name, frozenset({413}), content) for name, content in many.items()]


def odd_requests() -> list[Bad]:
    """Wrong types, encodings, methods and paths."""
    form = {"content-type": "multipart/form-data; boundary=x"}
    zipped = {**JSON, "content-encoding": "gzip"}
    bomb = gzip.compress(_body(input="a" * 50_000_000))
    return [
        Bad("text", frozenset({415}), _body(), headers={"content-type": "text/plain"}),
        Bad(
            "form",
            frozenset({415}),
            b'--x\r\nContent-Disposition: form-data; name="input"\r\n\r\na\r\n--x--',
            headers=form,
        ),
        Bad("no_type", frozenset({415}), _body(), headers={}),
        Bad("gzip", frozenset({415}), gzip.compress(_body()), headers=zipped),
        Bad("gzip_bomb", frozenset({415}), bomb, headers=zipped),
        Bad("method", frozenset({405}), method="DELETE"),
        Bad("path", frozenset({404}), _body(), path="/v1/../../etc/passwd"),
        Bad("odd_path", frozenset({404}), _body(), path="/%00%ff/" + "a" * 5000),
        Bad(
            "odd_model",
            frozenset({404}),
            b'{"content":{"parts":[{"text":"a"}]}}',
            path="/v1beta/models/%F0%9F%A6%8A:embedContent",
        ),
        Bad(
            "gemini_parts", frozenset({400}), b'{"content":{"parts":[{}]}}', path="/v1beta/models/omnivec:embedContent"
        ),
        Bad("native_kinds", frozenset({400}), b'{"inputs":{"a":1}}', path="/embed"),
        Bad(
            "similarity_kinds", frozenset({400}), b'{"model":"omnivec","query":"a","documents":"a"}', path="/similarity"
        ),
    ]


def large_bodies(body_bytes: int) -> list[Bad]:
    """Bodies near the limit and above, with a length and without."""
    under, over = body_bytes * 15 // 16, body_bytes + body_bytes // 16
    head = b'{"model":"omnivec","input":{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,'
    tail = b'"}}]}}'

    def pieces(size: int) -> Callable[[], AsyncIterator[bytes]]:
        async def send() -> AsyncIterator[bytes]:
            yield head
            for _ in range(size // PIECE):
                yield b"A" * PIECE
            yield tail

        return send

    too_large = frozenset({413})
    no_image = too_large | {415, 422}  # where the model takes media as large as that
    return [
        Bad("large_under", no_image, head + b"A" * under + tail, large=True),
        Bad("large_over", too_large, head + b"A" * over + tail, large=True),
        Bad("chunked_under", no_image, pieces(under), large=True),
        Bad("chunked_over", too_large, pieces(over), large=True),
        Bad("large_numbers", too_large, b'{"input":[' + b"1," * (under // 2) + b"1]}", large=True),
        Bad("large_text", too_large | {200}, _body(input="a" * under), large=True),
    ]

"""An object store on this machine with the few calls of S3 that MLflow's server makes, each of them signed.

It proves that the server reaches a store by the manifest's settings, and what it keeps there. Whether a signature is
right it does not look at, and it knows no other call: an unknown one is refused, not ignored.
"""

import re
from hashlib import md5
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse
from xml.sax.saxutils import escape

from tests.loopback import Loopback


class FakeS3(Loopback):
    """The server; a context.

    Attributes:
        objects: what is kept, by ``bucket/key``.
        keys: access keys of the signatures that came.
        refused: calls that it does not know.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.keys: set[str] = set()
        self.refused: list[str] = []
        super().__init__(_Handler, store=self)

    def listed(self, bucket: str, query: dict[str, list[str]]) -> str:
        """Answer of ListObjectsV2, one level deep where a delimiter is given."""
        prefix, delimiter = (query.get(name, [""])[0] for name in ("prefix", "delimiter"))
        files, folders = [], set()
        for name in sorted(name for name in self.objects if name.startswith(f"{bucket}/{prefix}")):
            key = name.removeprefix(f"{bucket}/")
            head, found, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else ("", "", "")
            if found:
                folders.add(prefix + head + delimiter)
            else:
                files.append(f"<Key>{escape(key)}</Key><Size>{len(self.objects[name])}</Size>")
        inside = "".join(f"<Contents>{one}</Contents>" for one in files)
        inside += "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders))
        return f"<ListBucketResult><Name>{bucket}</Name><IsTruncated>false</IsTruncated>{inside}</ListBucketResult>"


class _Handler(BaseHTTPRequestHandler):
    store: FakeS3
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        url = urlparse(self.path)
        name, query = unquote(url.path).strip("/"), parse_qs(url.query, keep_blank_values=True)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        _, signed, credential = self.headers.get("Authorization", "").partition("Credential=")
        if not signed:  # such as an address that the server has signed for a client, who has no way to here
            self.store.refused.append(f"{self.command} {self.path}")
            return self._answer(403)
        self.store.keys.add(credential.partition("/")[0])
        if self.command == "PUT" and set(query) <= {"partNumber", "uploadId"} and not self._chunked():
            self.store.objects[name + "".join(f"#{int(part):05}" for part in query.get("partNumber", ()))] = body
            return self._answer(200, etag=body)
        if self.command == "POST" and set(query) <= {"uploads", "uploadId"}:
            return self._large(name, begins="uploads" in query)
        if self.command == "GET" and query.get("list-type") == ["2"]:
            return self._answer(200, self.store.listed(name, query).encode())
        if self.command in ("GET", "HEAD") and not query:
            found = self.store.objects.get(name)
            return self._answer(404) if found is None else self._object(found)
        self.store.refused.append(f"{self.command} {self.path}")
        return self._answer(501)

    def _chunked(self) -> bool:
        return "aws-chunked" in self.headers.get("Content-Encoding", "")

    def _large(self, name: str, *, begins: bool) -> None:
        """Begin or complete an upload in parts."""
        if begins:
            answer = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
        else:
            parts = sorted(key for key in self.store.objects if key.startswith(f"{name}#"))
            self.store.objects[name] = b"".join(self.store.objects.pop(part) for part in parts)
            answer = '<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>'
        self._answer(200, answer.encode())

    def _object(self, found: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            return self._answer(200, found, etag=found)
        first, last = int(wanted[1]), int(wanted[2] or len(found) - 1)
        span = f"bytes {first}-{min(last, len(found) - 1)}/{len(found)}"
        return self._answer(206, found[first : last + 1], etag=found, span=span)

    def _answer(self, status: int, body: bytes = b"", *, etag: bytes | None = None, span: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if span:
            self.send_header("Content-Range", span)
        if etag is not None:
            self.send_header("ETag", f'"{md5(etag, usedforsecurity=False).hexdigest()}"')
            self.send_header("Last-Modified", "Sun, 29 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _handle

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

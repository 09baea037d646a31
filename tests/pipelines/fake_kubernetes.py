"""A Kubernetes API on this machine: documents by path, access reviews by a set of what is denied.

It proves what the doctor makes of answers, and that its requests are well-formed; not what a real cluster answers.
"""

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import yaml

from tests.loopback import Loopback


class FakeKubernetes(Loopback):
    """The server; a context, then ``address`` is where it answers.

    Attributes:
        documents: answers by path; a string is sent as text.
        hidden: beginnings of paths that one may not look at.
        denied: rights that one has not, such as ``create runs``.
    """

    def __init__(self, documents: dict[str, Any] | None = None) -> None:
        self.documents = {"/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.2"}, **(documents or {})}
        self.hidden: tuple[str, ...] = ()
        self.denied: set[str] = set()
        self.asked: list[str] = []
        super().__init__(_Handler, fake=self)

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig for this server."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": self.address}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return path

    def answer(self, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        self.asked.append(path)
        if path.startswith(self.hidden) and self.hidden:
            return 403, _status("forbidden")
        if path.endswith("accessreviews"):
            attributes = body["spec"]["resourceAttributes"]
            sub = f"/{attributes['subresource']}" if attributes["subresource"] else ""
            right = f"{attributes['verb']} {attributes['resource']}{sub}"
            return 201, {**body, "status": {"allowed": right not in self.denied}}
        found = self.documents.get(path)
        if found is None:
            return 404, _status(f"{path.rsplit('/', maxsplit=1)[-1]} not found")
        if isinstance(found, dict) and "items" in found and "labelSelector" in query:
            key, _, value = query["labelSelector"][0].partition("=")
            items = [item for item in found["items"] if item["metadata"].get("labels", {}).get(key) == value]
            return 200, {**found, "items": items}
        return 200, found


def _status(message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message}


class _Handler(BaseHTTPRequestHandler):
    fake: FakeKubernetes

    def _handle(self) -> None:
        url = urlparse(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        status, found = self.fake.answer(url.path, parse_qs(url.query), body)
        data = found.encode() if isinstance(found, str) else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _handle

    def log_message(self, *_: object) -> None:
        pass

"""An HTTP server on this machine that plays a service."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Loopback:
    """Use it as a context; then ``address`` is where it answers.

    Args:
        handler: answers a request.
        known: attributes that the handler gets.
    """

    def __init__(self, handler: type[BaseHTTPRequestHandler], **known: Any) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), known))

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

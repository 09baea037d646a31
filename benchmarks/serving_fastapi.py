"""The peer of the serving rows: a model of sentence-transformers behind a FastAPI handler, as many people write it.

One process of uvicorn and one model. The handler is a plain ``def``, which FastAPI runs in its pool of threads, and
calls ``model.encode`` on the inputs of its request. ``--lock`` lets one request at a time into ``encode``, which is
what people add when requests trip over each other. Nothing here is of Omnivec but the route and its JSON.
"""

import argparse
import base64
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from pydantic import BaseModel

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

KINDS = {"image_url": ("image", "url"), "input_audio": ("audio", "data")}


class Body(BaseModel):
    """OpenAI's request."""

    model: str
    input: str | dict[str, Any] | list[str | dict[str, Any]]


def create_app(model: "SentenceTransformer", lock: AbstractContextManager[Any]) -> FastAPI:
    """The service."""
    app = FastAPI()

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/v1/embeddings")
    def embeddings(body: Body) -> dict[str, Any]:
        items = body.input if isinstance(body.input, list) else [body.input]
        inputs = [item if isinstance(item, str) else decoded(item) for item in items]
        with lock:
            vectors = model.encode(inputs, show_progress_bar=False)
        data = [{"object": "embedding", "index": i, "embedding": vector.tolist()} for i, vector in enumerate(vectors)]
        return {"object": "list", "data": data, "model": body.model}

    return app


def decoded(item: dict[str, Any]) -> Any:
    """A content object of one or more parts as what the portable model of an artifact takes."""
    parts = [part["text"] if part["type"] == "text" else _media(part) for part in item["content"]]
    return parts[0] if len(parts) == 1 else tuple(parts)


def _media(part: dict[str, Any]) -> dict[str, bytes]:
    kind, field = KINDS[part["type"]]
    return {kind: base64.b64decode(part[part["type"]][field].split(",")[-1])}


def main() -> None:
    """Serve a model of sentence-transformers on a port of this machine."""
    import uvicorn
    from sentence_transformers import SentenceTransformer

    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving_fastapi", description=main.__doc__)
    parser.add_argument("model", help="directory")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--lock", action="store_true", help="one request at a time")
    parser.add_argument("--trust-remote-code", action="store_true", help="run the modelling file of the directory")
    arguments = parser.parse_args()
    model = SentenceTransformer(arguments.model, device="cpu", trust_remote_code=arguments.trust_remote_code)
    lock = Lock() if arguments.lock else nullcontext()
    uvicorn.run(create_app(model, lock), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()

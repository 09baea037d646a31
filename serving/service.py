"""The BentoML shell: probes, metrics and process management around the app.

The app's own batcher is used instead of BentoML's adaptive batching, which fails all callers of a batch for one bad
item and does not know tokens.
"""

import os
from typing import Any

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # before the import: no telemetry leaves the machine

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.app import create_app
from serving.config import ServingConfig
from serving.host import ModelHost
from serving.lifeline import LAUNCHER_VARIABLE, follow
from serving.routes.native import embed_in_process
from serving.schemas import EmbedRequest, Input
from serving.telemetry import configure_logging

host = ModelHost(ServingConfig.from_environment())
app = create_app(host)
NATIVE = "/embed"


class OurParser:
    """Lets the app answer ``/embed``: BentoML's own parser takes multipart forms, fetches URLs and knows no limit."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await (app if scope.get("path") == NATIVE else self._inner)(scope, receive, send)


@bentoml.service(
    name="omnivec",
    workers=1,
    traffic={"timeout": 120, "max_concurrency": 4096},  # our own limits are stricter and answer in OpenAI's shape
    logging={"access": {"enabled": False}},  # the app logs each request once, as JSON and without query strings
)
@bentoml.asgi_app(app, path="/")
class OmnivecService:
    """Serves the artifact of the configuration file that ``OMNIVEC_SERVING_CONFIG`` names."""

    def __init__(self) -> None:
        configure_logging()
        follow(os.environ.get(LAUNCHER_VARIABLE))
        host.start()

    @bentoml.api(route=NATIVE)  # type: ignore[untyped-decorator]  # BentoML does not annotate it
    async def embed(self, inputs: Input, dimensions: int | None = None, task: str | None = None) -> Any:
        """One vector per input, as ``POST /embed``; what BentoML's clients and services in this process see."""
        body = EmbedRequest(inputs=inputs, dimensions=dimensions, task=task)
        return (await embed_in_process(host.runtime(), body)).tolist()

    async def __is_alive__(self) -> bool:
        """Dead when the model cannot be loaded, so that an orchestrator replaces the process."""
        return host.failure is None

    async def __is_ready__(self) -> bool:
        """Ready after the warm-up of every modality."""
        return host.ready

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]  # BentoML does not annotate it
    async def stop(self) -> None:
        """End running work and write the rest of the capture."""
        await host.close()


OmnivecService.add_asgi_middleware(OurParser)

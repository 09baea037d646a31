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
from serving.config import ServingConfig, config_path
from serving.doorman import install
from serving.errors import RequestError
from serving.gate import METRICS, PROBES
from serving.host import ModelHost
from serving.lifeline import LAUNCHER_VARIABLE, follow
from serving.middleware import request_id_of
from serving.responses import error_response
from serving.routes.native import embed_in_process
from serving.schemas import EmbedRequest, Input
from serving.telemetry import configure_logging

host = ModelHost(ServingConfig.from_environment(), source=config_path())
app = create_app(host)
install(host.config.connections)
NATIVE = "/embed"
BENTO_PATHS = PROBES | {METRICS, "/schema.json"}  # the last tells BentoML's clients of /embed


class Front:
    """Sends every request to the app but those for BentoML's own pages, which the gate sees first.

    BentoML's parser of API bodies takes multipart forms, fetches URLs and knows no limit, so the app answers ``/embed``
    as well.
    """

    def __init__(self, bento: ASGIApp) -> None:
        self._bento = bento

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] not in BENTO_PATHS:
            await app(scope, receive, send)
            return
        if scope["type"] == "http":
            try:
                app.state.gate.admit(scope)
            except RequestError as error:
                await error_response(error, request_id_of(scope), scope["path"])(scope, receive, send)
                return
        await self._bento(scope, receive, send)


@bentoml.service(
    name="omnivec",
    workers=1,
    traffic={"timeout": 120, "max_concurrency": 4096},  # our own limits are stricter and answer in OpenAI's shape
    tracing={"excluded_urls": ".*"},  # the app traces each request itself; BentoML would make spans that nobody gets
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


OmnivecService.add_asgi_middleware(Front)  # type: ignore[attr-defined]  # the decorator made it a service

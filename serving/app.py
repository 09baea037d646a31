"""The web application: routes, errors and middleware around a ``ModelHost``. Knows no BentoML."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from serving.bodies import Bodies
from serving.config import ServingConfig
from serving.gate import Gate
from serving.host import ModelHost
from serving.keys import KeyRing
from serving.middleware import RequestMiddleware
from serving.openapi import openapi_of
from serving.responses import install_handlers
from serving.routes import ROUTES
from serving.telemetry import log, metrics
from serving.tracing import Tracing, open_tracing

SHOW_SECONDS = 0.5
DESCRIPTION = "Text, image, audio, video and any mix of them, as vectors of one space."


def create_app(host: ModelHost, tracing: Tracing | None = None) -> FastAPI:
    """Build the app. The host may still be loading: routes answer 503 until it is ready.

    Args:
        host: what is served.
        tracing: where traces go; by default what the configuration says.

    Raises:
        ConfigError: the keys file cannot be read, or tracing is configured and its exporter is not installed.
    """
    tracing = tracing or open_tracing(host.config.tracing)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(host.follow()), asyncio.create_task(show_load())]
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if tracing is not None:
            await asyncio.to_thread(tracing.close)

    app = FastAPI(title="Omnivec", description=DESCRIPTION, version="1", lifespan=lifespan)
    app.state.host = host
    app.state.gate = gate = make_gate(host.config)
    limits = host.config.limits
    for router in ROUTES:
        app.include_router(router)
    app.openapi = openapi_of(app, host)  # type: ignore[method-assign]  # FastAPI's own way to change it
    install_handlers(app)
    app.add_middleware(
        RequestMiddleware, bodies=Bodies(limits.body_bytes, limits.bodies_bytes), gate=gate, tracing=tracing
    )
    return app


async def show_load() -> None:
    """Keep the gauges true: one that is set only when something happens would miss that nothing does."""
    while True:
        metrics().refresh()
        await asyncio.sleep(SHOW_SECONDS)


def make_gate(config: ServingConfig) -> Gate:
    """The gate of a configuration."""

    def report(problem: str) -> None:
        log.error("keys_not_reloaded", extra={"reason": problem})

    return Gate(None if config.keys is None else KeyRing(config.keys, report))

"""The web application: routes, errors and middleware around a ``ModelHost``. Knows no BentoML."""

from fastapi import FastAPI

from serving.host import ModelHost
from serving.middleware import RequestMiddleware
from serving.responses import install_handlers
from serving.routes import ROUTES

DESCRIPTION = "Text, image, audio, video and any mix of them, as vectors of one space."


def create_app(host: ModelHost) -> FastAPI:
    """Build the app. The host may still be loading: routes answer 503 until it is ready."""
    app = FastAPI(title="Omnivec", description=DESCRIPTION, version="1")
    app.state.host = host
    limit = host.config.limits.body_bytes
    for router in ROUTES:
        app.include_router(router)
    install_handlers(app, max_body_bytes=limit)
    app.add_middleware(RequestMiddleware, max_body_bytes=limit)
    return app

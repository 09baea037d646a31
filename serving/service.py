"""The BentoML shell: probes, metrics and process management around the app.

The app's own batcher is used instead of BentoML's adaptive batching, which fails all callers of a batch for one bad
item and does not know tokens.
"""

import os

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # before the import: no telemetry leaves the machine

import bentoml

from serving.app import create_app
from serving.config import ServingConfig
from serving.host import ModelHost
from serving.lifeline import LAUNCHER_VARIABLE, follow
from serving.telemetry import configure_logging

host = ModelHost(ServingConfig.from_environment())
app = create_app(host)


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

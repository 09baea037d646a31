"""What the process serves: loads the model in the background, warms it up, and hands it to routes when ready."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.capture import Capture
from serving.config import ServingConfig
from serving.embedder import Embedder
from serving.engine import Engine, default_dimension, load_engine
from serving.errors import RequestError
from serving.samples import sample_contents
from serving.telemetry import log


@dataclass(frozen=True)
class Runtime:
    """One loaded model with everything that belongs to it; a hot swap replaces it as a whole."""

    config: ServingConfig
    engine: Engine
    embedder: Embedder
    dimension: int
    created: int

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every answer: vectors are comparable only within one vector space."""
        return {"X-Omnivec-Version": self.config.version, "X-Omnivec-Vector-Space": self.engine.vector_space}


def load_from_config(config: ServingConfig) -> Engine:
    """The engine of the configured artifact."""
    return load_engine(config.artifact, backend=config.backend, modalities=config.modalities)


class ModelHost:
    """Owns the runtime of a process.

    Args:
        config: what to serve.
        load: makes the engine; replaced in tests.
    """

    def __init__(self, config: ServingConfig, load: Callable[[ServingConfig], Engine] = load_from_config) -> None:
        self.config = config
        self.failure: Exception | None = None
        self._load = load
        self._runtime: Runtime | None = None
        self._capture: Capture | None = None

    @property
    def ready(self) -> bool:
        """Whether every modality has been warmed up."""
        return self._runtime is not None

    def start(self) -> None:
        """Load in the background; ``ready`` or ``failure`` tells the outcome."""
        threading.Thread(target=self._try_open, name="load", daemon=True).start()

    def open(self) -> None:
        """Load, warm up, and become ready.

        Raises:
            ArtifactError: the artifact is missing, damaged, or fails its warm-up.
            ConfigError: an option does not fit the model.
        """
        started = time.monotonic()
        engine = self._load(self.config)
        dimension = default_dimension(engine, self.config.dimensions)
        engine.warm_up([c for c in sample_contents(engine.modalities) if engine.takes(c)])
        self._capture = Capture(self.config.capture) if self.config.capture is not None else None
        embedder = Embedder(
            engine, self.config.limits, prepare_workers=self.config.prepare_workers, capture=self._capture
        )
        self._runtime = Runtime(self.config, engine, embedder, dimension, created=int(time.time()))
        log.info(
            "ready",
            extra={
                "model": self.config.model_name,
                "version": self.config.version,
                "vector_space": engine.vector_space,
                "backend": self.config.backend,
                "modalities": sorted(engine.modalities),
                "load_seconds": round(time.monotonic() - started, 2),
            },
        )

    def runtime(self) -> Runtime:
        """The runtime that serves now.

        Raises:
            RequestError: 503 while loading or after a failure.
        """
        if self._runtime is None:
            state = "failed to load; see its log" if self.failure is not None else "is loading"
            raise RequestError(f"the model {state}", status=503, code="not_ready", headers={"Retry-After": "1"})
        return self._runtime

    async def close(self) -> None:
        """Stop serving: refuse new work, end what runs, write the rest of the capture."""
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            await runtime.embedder.close()
        if self._capture is not None:
            self._capture.close()

    def _try_open(self) -> None:
        try:
            self.open()
        except Exception as error:  # the thread's only way to report: probes and the log read it
            self.failure = error
            log.error(
                "load_failed", exc_info=error, extra={"reason": str(error), "artifact": str(self.config.artifact)}
            )

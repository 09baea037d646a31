"""One loaded model with everything that belongs to it; a hot swap replaces it as a whole."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from serving.capture import Capture
from serving.config import ServingConfig
from serving.cores import Sharing, share_cores, usable_cores
from serving.embedder import Embedder
from serving.engine import Engine, default_dimension, load_engine
from serving.fetch import Fetcher
from serving.line import Line
from serving.samples import sample_contents
from serving.telemetry import log

POLL_SECONDS = 0.05
Load = Callable[[ServingConfig], Engine]


@dataclass
class Users:
    """How many requests hold a runtime. Counted on the event loop only."""

    count: int = 0


@dataclass(frozen=True)
class Runtime:
    """A warm model."""

    config: ServingConfig
    engine: Engine
    embedder: Embedder
    dimension: int
    created: int
    capture: Capture | None
    fetcher: Fetcher | None = None
    users: Users = field(default_factory=Users)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every answer: vectors are comparable only within one vector space."""
        return {"X-Omnivec-Version": self.config.version, "X-Omnivec-Vector-Space": self.engine.vector_space}

    @contextmanager
    def held(self) -> Iterator["Runtime"]:
        """Keep the runtime open for the length of a request, even when another takes over meanwhile."""
        self.users.count += 1
        try:
            yield self
        finally:
            self.users.count -= 1

    async def retire(self) -> None:
        """Wait until nobody holds the runtime, then close it and write the rest of its capture."""
        while self.users.count:
            await asyncio.sleep(POLL_SECONDS)
        await self.embedder.close()
        if self.fetcher is not None:
            self.fetcher.close()
        if self.capture is not None:
            await asyncio.to_thread(self.capture.close)


def sharing_of(config: ServingConfig) -> Sharing:
    """How the configured computations share the cores of this process."""
    return share_cores(config.backend, workers=config.compute_workers, threads=config.threads, cores=usable_cores())


def load_from_config(config: ServingConfig) -> Engine:
    """The engine of the configured artifact."""
    return load_engine(
        config.artifact,
        backend=config.backend,
        modalities=config.modalities,
        dtype=config.dtype,
        device=config.device,
        threads=sharing_of(config).threads,
    )


def open_runtime(config: ServingConfig, load: Load = load_from_config, line: Line | None = None) -> Runtime:
    """Load a model and warm up every modality.

    Args:
        config: what to serve.
        load: makes the engine.
        line: of requests that another model refused.

    Raises:
        ArtifactError: the artifact is missing, damaged, or fails its warm-up.
        ConfigError: an option does not fit the model.
    """
    started = time.monotonic()
    engine = load(config)
    dimension = default_dimension(engine, config.dimensions)
    engine.warm_up([c for c in sample_contents(engine.modalities) if engine.takes(c)])
    capture = Capture(config.capture) if config.capture is not None else None
    embedder = Embedder(
        engine,
        config.limits,
        prepare_workers=config.prepare_workers,
        compute_workers=sharing_of(config).workers,
        capture=capture,
        line=line,
    )
    log.info(
        "ready",
        extra={
            "model": config.model_name,
            "version": config.version,
            "vector_space": engine.vector_space,
            "backend": config.backend,
            "modalities": sorted(engine.modalities),
            "load_seconds": round(time.monotonic() - started, 2),
        },
    )
    fetcher = Fetcher(config.fetch) if config.fetch is not None else None
    return Runtime(config, engine, embedder, dimension, int(time.time()), capture, fetcher)

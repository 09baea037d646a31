"""What the process serves: loads a model in the background, hands it to routes, and swaps it while they run."""

import asyncio
import threading
from pathlib import Path

from model.errors import ConfigError
from serving.admission import line_of
from serving.config import ServingConfig
from serving.errors import RequestError
from serving.runtime import Load, Runtime, load_from_config, open_runtime
from serving.telemetry import log

LOOK_SECONDS = 1.0
SWAPPABLE = frozenset(
    {"artifact", "version", "aliases", "backend", "dtype", "modalities", "dimensions", "capture", "gallery"}
)


class ModelHost:
    """Owns the runtime of a process.

    Args:
        config: what to serve.
        load: makes the engine; replaced in tests.
        source: the file that ``config`` came from; when it names another model, that one takes over.
    """

    def __init__(self, config: ServingConfig, load: Load = load_from_config, source: Path | None = None) -> None:
        self.config = config
        self.failure: Exception | None = None
        self._load = load
        self._source = source
        self._stamp = _stamp(source)
        self._line = line_of(config.limits)  # who was told to come back is let in by whichever model serves then
        self._runtime: Runtime | None = None

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
        self._runtime = open_runtime(self.config, self._load, self._line)

    def runtime(self) -> Runtime:
        """The runtime that serves now.

        Raises:
            RequestError: 503 while loading or after a failure.
        """
        if self._runtime is None:
            state = "failed to load; see its log" if self.failure is not None else "is loading"
            raise RequestError(f"the model {state}", status=503, code="not_ready", headers={"Retry-After": "1"})
        return self._runtime

    async def follow(self) -> None:
        """Look at the source for ever, and swap when it names another model."""
        while self._source is not None:
            await asyncio.sleep(LOOK_SECONDS)
            stamp = _stamp(self._source)
            if self.ready and stamp is not None and stamp != self._stamp:
                self._stamp = stamp
                await self._try_swap(self._source)

    async def swap(self, config: ServingConfig) -> None:
        """Load and warm up another model beside the present one, let new requests go to it, then retire the old one.

        Requests that began before end with the model that they began with. Both models are in memory meanwhile.

        Raises:
            ArtifactError: the new model is missing, damaged, or fails its warm-up; the present one goes on.
            ConfigError: the configuration differs in what needs a restart.
        """
        old = self.runtime()
        fixed = [name for name in type(config).model_fields if name not in SWAPPABLE]
        if changed := [name for name in fixed if getattr(config, name) != getattr(old.config, name)]:
            raise ConfigError(f"{', '.join(changed)} cannot change while the service runs; restart it for that")
        new = await asyncio.to_thread(open_runtime, config, self._load, self._line)
        self._runtime, self.config = new, config
        log.info(
            "swapped",
            extra={
                "version": config.version,
                "version_before": old.config.version,
                "same_space": new.engine.vector_space == old.engine.vector_space,
            },
        )
        await old.retire()

    async def close(self) -> None:
        """Stop serving: refuse new work, end what runs, write the rest of the capture."""
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            await runtime.retire()

    async def _try_swap(self, source: Path) -> None:
        try:
            config = ServingConfig.parse(source)
            if config != self.config:
                await self.swap(config)
        except Exception as error:  # the present model goes on; the log is the only place to say why
            log.error("swap_failed", exc_info=error, extra={"reason": str(error), "source": str(source)})

    def _try_open(self) -> None:
        try:
            self.open()
        except Exception as error:  # the thread's only way to report: probes and the log read it
            self.failure = error
            log.error(
                "load_failed", exc_info=error, extra={"reason": str(error), "artifact": str(self.config.artifact)}
            )


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """What changes when a file is replaced; None without a file."""
    try:
        facts = path.stat() if path is not None else None
    except OSError:
        return None
    return (facts.st_mtime_ns, facts.st_ino) if facts is not None else None

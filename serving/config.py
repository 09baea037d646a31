"""Everything an operator can set on the service: one frozen document, read once at the entry of the process."""

import ipaddress
import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from model.artifact import Backend
from model.config import Config
from model.content import Modality
from model.errors import ConfigError
from model.precision import Precision, check_precision
from serving.fetch import FetchConfig

CONFIG_VARIABLE = "OMNIVEC_SERVING_CONFIG"
DEFAULT_PORT = 3000
Device = Literal["auto", "cpu", "cuda"]


class RequestLimits(Config):
    """What one request, and the whole service, may hold. Limits of one content belong to the encoder's artifact."""

    body_bytes: int = Field(default=64_000_000, gt=0)
    items_per_request: int = Field(default=64, gt=0)
    batch_tokens: int = Field(
        default=512,
        gt=0,
        description="padded tokens that one compute call may hold; on processors more of them only make others wait",
    )
    batch_items: int = Field(default=64, gt=0)
    batch_padding: int = Field(
        default=12,
        ge=0,
        description="tokens of padding that one compute call may hold, as many as are computed in the time that a call "
        "takes besides; torch packs and can have more",
    )
    queue_items: int = Field(default=512, gt=0, description="items inside the service, in any phase; more answer 429")
    queue_tokens: int = Field(
        default=131_072, gt=0, description="tokens inside the service, media at their cost in tokens; more answer 429"
    )
    cache_items: int = Field(default=0, ge=0, description="vectors kept by digest of their input; 0 keeps none")
    timeout_seconds: float = Field(default=60.0, gt=0, description="of a request that names no time of its own")
    max_timeout_seconds: float = Field(
        default=100.0, gt=0, description="most that a request may name; BentoML ends each after 120"
    )
    bodies_bytes: int = Field(
        default=256_000_000, gt=0, description="bodies inside the service, all requests together; more answer 429"
    )

    @model_validator(mode="after")
    def _bodies_hold_a_request(self) -> Self:
        if self.bodies_bytes < self.body_bytes:
            raise ValueError(f"bodies_bytes={self.bodies_bytes} must be at least body_bytes={self.body_bytes}")
        return self

    @model_validator(mode="after")
    def _queue_holds_a_request(self) -> Self:
        if self.queue_items < self.items_per_request:
            raise ValueError(
                f"queue_items={self.queue_items} must be at least items_per_request={self.items_per_request}, "
                "or a full request could never be admitted"
            )
        return self


class ConnectionLimits(Config):
    """How long a caller may take, and how much may wait on its connection.

    Attributes:
        connections: open at once; beyond, the longest idle one is closed; where none is idle, the new one is refused.
        idle_seconds: between two requests; longer than callers and balancers keep a connection (5 and 60 s are common),
            or they would now and then send a request into one that is just being closed.
        head_seconds: until a head is complete, counted from the connection or from the head's first byte.
        head_bytes: of the request line and all headers.
        body_seconds: for a whole body.
        body_grace_seconds: in which a body may come at any speed.
        body_bytes_per_second: on average, after that.
        write_seconds: in which a caller must have read something of an answer that waits for it.
        pipelined: requests of a connection that wait for the answer of an earlier one.
    """

    connections: int = Field(default=2048, gt=0)
    idle_seconds: int = Field(default=75, gt=0)
    head_seconds: float = Field(default=10.0, gt=0)
    head_bytes: int = Field(default=65_536, gt=0)
    body_seconds: float = Field(default=120.0, gt=0)
    body_grace_seconds: float = Field(default=10.0, gt=0)
    body_bytes_per_second: int = Field(default=16_000, gt=0)
    write_seconds: float = Field(default=30.0, gt=0)
    pipelined: int = Field(default=16, ge=0)


class TracingConfig(Config):
    """Traces over OTLP. Attributes are counts, kinds, codes and request ids; never input."""

    endpoint: str = Field(description="of the collector over HTTP, such as http://127.0.0.1:4318/v1/traces")
    headers: dict[str, str] = Field(default={}, description="sent with each export, such as a token of the collector")
    sample_rate: float = Field(default=1.0, ge=0, le=1, description="of requests that come without a trace")
    service_name: str = "omnivec"


class CaptureConfig(Config):
    """Sampled capture of embeddings and cheap features for drift monitoring; raw input is never kept."""

    directory: Path
    sample_rate: float = Field(default=1.0, ge=0, le=1)
    flush_items: int = Field(default=256, gt=0)
    flush_seconds: float = Field(default=5.0, gt=0)
    buffer_items: int = Field(default=8192, gt=0, description="oldest rows are dropped, and counted, beyond this")


class ServingConfig(Config):
    """The service: which artifact it serves, where it listens, and what it allows."""

    artifact: Path
    model_name: str = "omnivec"
    aliases: tuple[str, ...] = Field(
        default=(), description="further names that a request may call the model, for clients that cannot change theirs"
    )
    version: str = "local"
    backend: Backend = "onnx"
    dtype: Precision = Field(default="float32", description="of the torch backend: float32 or bfloat16")
    device: Device = Field(default="auto", description="of the torch backend: auto takes a GPU where there is one")
    threads: int = Field(default=0, ge=0, description="of one computation; 0 shares the cores among compute_workers")
    compute_workers: int = Field(
        default=0,
        ge=0,
        description="batches that are computed at a time; 0 is one on each core by ONNX Runtime, one by torch",
    )
    modalities: frozenset[Modality] | None = Field(default=None, description="towers to load; null loads all")
    host: str = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535)
    dimensions: int | None = Field(default=None, gt=0, description="length of vectors when a request names none")
    prepare_workers: int = Field(default=2, gt=0, description="threads that decode and tokenise")
    limits: RequestLimits = RequestLimits()
    connections: ConnectionLimits = ConnectionLimits()
    fetch: FetchConfig | None = Field(default=None, description="media by URL; null fetches nothing")
    capture: CaptureConfig | None = None
    tracing: TracingConfig | None = Field(default=None, description="null traces nothing, at no cost")
    gallery: Path | None = Field(default=None, description="items with vectors, which the page at / searches")
    keys: Path | None = Field(default=None, description="file of API keys; see `omnivec keys`")
    anonymous: bool = Field(default=False, description="let everyone in, also from other machines")

    @model_validator(mode="after")
    def _closed_by_default(self) -> Self:
        if self.keys is None and not self.anonymous and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} can be reached from other machines and no keys are set: give a file of keys "
                "(`omnivec keys add NAME --file FILE`, then keys: FILE), or say anonymous: true where something in "
                "front of the service checks its callers"
            )
        return self

    @model_validator(mode="after")
    def _options_fit_the_backend(self) -> Self:
        check_precision(self.dtype, self.backend)
        if self.device == "cuda" and self.backend != "torch":
            raise ValueError(f"device 'cuda' needs backend 'torch'; {self.backend!r} computes on the processor")
        return self

    @classmethod
    def from_environment(cls) -> Self:
        """Read the JSON file that ``OMNIVEC_SERVING_CONFIG`` names. Called by the service entry and nothing else.

        Raises:
            ConfigError: the variable is unset, the file is missing, or its content is wrong.
        """
        return cls.parse(config_path())


def config_path() -> Path:
    """The file that ``OMNIVEC_SERVING_CONFIG`` names.

    Raises:
        ConfigError: the variable is unset, or names no file.
    """
    name = os.environ.get(CONFIG_VARIABLE, "")
    if not name:
        raise ConfigError(
            f"{CONFIG_VARIABLE} is not set: let it name a JSON file such as "
            '{"artifact": "path/of/the/artifact"}, or start the service with `omnivec serve`'
        )
    path = Path(name)
    if not path.is_file():
        raise ConfigError(f"{CONFIG_VARIABLE}={name} is not a file; write the serving configuration there")
    return path


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to listen on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

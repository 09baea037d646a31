"""Configuration of the serving check."""

from pydantic import Field

from model.artifact import Backend
from model.config import Config as Base


class Config(Base):
    """How the candidate is served and what is sent to it.

    ``window_per_kind`` must reach the drift detector's ``minimum_rows`` for a kind to be tested; kinds with fewer
    held-out contents give what they have.
    """

    backend: Backend = "onnx"
    minimum_cosine: float = Field(default=0.9999, gt=0, le=1)
    parity_per_kind: int = Field(default=8, ge=2, description="contents of each kind, sent alone and among strangers")
    tasks: tuple[str, ...] = Field(default=("query", "document"), description="prefixes also compared, on texts")
    window_per_kind: int = Field(default=60, ge=1, description="contents of each kind in a drift window")
    items_per_request: int = Field(default=12, ge=1, le=64)
    clients: int = Field(default=4, ge=1, le=64, description="concurrent connections")
    ready_timeout_seconds: float = Field(default=300.0, gt=0)
    seed: int = 0


ServeCheckConfig = Config

"""Base of every configuration object: frozen, closed, and with a stable digest."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from model.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Config(BaseModel):
    """Frozen pydantic model that refuses unknown keys. Behaviour lives in plain classes, not here."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @classmethod
    def parse(cls, value: dict[str, Any] | str | Path) -> Self:
        """Validate a dict, a JSON string or a JSON file.

        Raises:
            ConfigError: with every problem at once, each as ``path: message (got value)``.
        """
        if isinstance(value, Path):
            value = value.read_text(encoding="utf-8")
        try:
            return cls.model_validate_json(value) if isinstance(value, str) else cls.model_validate(value)
        except ValidationError as error:
            raise ConfigError(describe(error, cls.__name__)) from error

    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON form."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def describe(error: ValidationError, what: str) -> str:
    """Render a pydantic error as one line per problem with its dotted path."""
    lines = [f"{what} has {error.error_count()} problem(s):"]
    return "\n".join([*lines, *(f"  {problem(item)}" for item in error.errors(include_url=False))])


def problem(item: "ErrorDetails") -> str:
    """One problem of a pydantic error: its dotted path, the rule and what was given."""
    path = ".".join(str(step) for step in item["loc"]) or "(root)"
    given = "" if item["type"] == "missing" else f" (got {item['input']!r})"
    return f"{path}: {item['msg']}{given}"

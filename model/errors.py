"""Errors that people can act on: each says what was given, the rule, and the way out."""


class OmnivecError(Exception):
    """Base of every error that Omnivec raises on purpose."""


class ConfigError(OmnivecError, ValueError):
    """A configuration is wrong; the message lists every problem with its path."""


class ContentError(OmnivecError, ValueError):
    """A content, or one part of it, cannot be embedded.

    Attributes:
        code: stable machine-readable reason, such as ``image_undecodable`` or ``audio_too_long``.
        limit: the limit that was exceeded, by name, or ``None``.
    """

    def __init__(self, message: str, *, code: str, limit: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.limit = limit


class CapabilityError(OmnivecError, ValueError):
    """The loaded model lacks the tower that a part needs."""


class ArtifactError(OmnivecError, ValueError):
    """A model artifact or weight source is missing, damaged or of another format."""


class DataError(OmnivecError, ValueError):
    """A corpus is unusable as a whole (single bad rows are quarantined instead)."""

"""Configuration of the audit step."""

from pydantic import Field

from data.audit.rules import AuditRules


class AuditConfig(AuditRules):
    """What counts as a leak or a duplicate, what is done about it, and how much of it the report shows."""

    shown_pairs: int = Field(default=12, ge=0, description="pairs of each kind and scope in the report")
    shown_bytes: int = Field(default=6_000_000, ge=0, description="bytes of pictures and sounds in the report")

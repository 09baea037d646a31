"""Configuration of the validate step."""

from typing import Self

from pydantic import Field, model_validator

from data.rules import OwnExpectation, Ranges, RuleSetting, rule_names
from model.config import Config
from model.encoder import Limits


class LicensePolicy(Config):
    """SPDX names that a record's licence expression may use; other records are left out.

    The default: those of the starter corpus, and dedications to the public domain.
    """

    allow: tuple[str, ...] = Field(
        default=(
            "Apache-2.0",
            "CC-BY-4.0",
            "CC-BY-SA-4.0",
            "CC0-1.0",
            "GPL-2.0-or-later",
            "MIT",
            "MPL-2.0",
            "PDDL-1.0",
            "PSF-2.0",
            "Python-2.0",
            "Unicode-3.0",
            "Unlicense",
        ),
        min_length=1,
    )


class ValidateConfig(Config):
    """What a corpus must satisfy.

    ``maximum_bad_share`` is the share of rows that may be bad before the run stops. Rows left out for their licence
    are a choice and not counted as bad.
    """

    licenses: LicensePolicy = LicensePolicy()
    evaluation_only: tuple[str, ...] = Field(default=("emoji-openmoji",), description="sources of test records only")
    ranges: Ranges = Ranges()
    rules: dict[str, RuleSetting] = Field(default_factory=dict)
    expectations: tuple[OwnExpectation, ...] = ()
    limits: Limits = Limits()
    maximum_bad_share: float = Field(default=0.02, ge=0, le=1)
    dvc_md5: str | None = Field(default=None, description="digest the corpus should have; default: from dvc.lock")

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        known = rule_names()
        if strange := sorted(self.rules.keys() - set(known)):
            raise ValueError(f"rules: no rule {', '.join(strange)}; known are {', '.join(known)}")
        own = [expectation.name for expectation in self.expectations]
        if taken := sorted({name for name in own if name in known or own.count(name) > 1}):
            raise ValueError(f"expectations: {', '.join(taken)} is taken as a reason; give each a reason of its own")
        return self

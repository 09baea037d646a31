"""Configuration of the validate step."""

from pydantic import Field

from data.expectations import Ranges
from model.config import Config
from model.encoder import Limits


class LicensePolicy(Config):
    """SPDX names that a record's licence expression may use; other records are left out."""

    allow: tuple[str, ...] = Field(
        default=(
            "Apache-2.0",
            "CC-BY-4.0",
            "CC-BY-SA-4.0",
            "GPL-2.0-or-later",
            "MIT",
            "MPL-2.0",
            "PSF-2.0",
            "Python-2.0",
            "Unicode-3.0",
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
    limits: Limits = Limits()
    maximum_bad_share: float = Field(default=0.02, ge=0, le=1)
    dvc_md5: str | None = Field(default=None, description="digest the corpus should have; default: from dvc.lock")

"""What a step takes from other runs by path, so that its cache key follows the content and not the name."""

from typing import Annotated

from pydantic import Field

Contents = Annotated[
    dict[str, str],
    Field(
        default_factory=dict,
        description="digests of the directories that the step takes from other runs; the pipeline fills them in",
    ),
]

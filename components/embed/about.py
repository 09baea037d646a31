"""What a file of vectors is: the space that it lies in, and what it was made of; written beside it, at the same time.

``OUTPUT.about.json`` says it in words; ``OUTPUT.inputs`` has the state of every input. Vectors of two spaces
cannot be compared, so a file is of one space, and of which one must never be a guess.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from components.embed.config import EmbedConfig
from components.embed.inputs import Source
from model.config import Config
from model.errors import ConfigError, DataError
from model.files import whole_file
from model.integrity import file_digest, matches


class About(Config):
    """What a file of vectors is.

    Attributes:
        vector_space: of the vectors, as in the service's header ``X-Omnivec-Vector-Space``.
        ranges: digest of the ranges that ``int8`` and ``uint8`` codes stand for; None for others.
        inputs: files and folders that were embedded, absolute.
        config: how.
        output_sha256: of the file of vectors; tells whether the two belong together.
        inputs_sha256: of the file of states.
    """

    vector_space: str
    ranges: str | None = None
    inputs: tuple[Path, ...]
    config: EmbedConfig
    output_sha256: str
    inputs_sha256: str

    @classmethod
    def beside(cls, output: Path) -> Self:
        """What ``output`` is.

        Raises:
            DataError: there is no such file, or nothing beside it that belongs to it.
        """
        path = about_path(output)
        again = f"embed it again: omnivec embed INPUTS -o {output}"
        if not output.is_file():
            raise DataError(f"{output} is no file of vectors; make one: omnivec embed INPUTS -o {output}")
        try:
            about = cls.parse(path)
        except (ConfigError, OSError, ValueError) as error:
            raise DataError(f"{path.name} does not say which space {output} lies in ({error}); {again}") from error
        if not (matches(output, about.output_sha256) and matches(states_path(output), about.inputs_sha256)):
            raise DataError(f"{path.name} belongs to another file than {output}: one of them was replaced; {again}")
        return about


def about_path(output: Path) -> Path:
    """The file that describes ``output``."""
    return output.with_name(output.name + ".about.json")


def states_path(output: Path) -> Path:
    """The file of the states of its inputs."""
    return output.with_name(output.name + ".inputs")


def write_about(
    output: Path, sources: Sequence[Source], inputs: Sequence[Path], config: EmbedConfig, space: str, ranges: str | None
) -> None:
    """Describe ``output``, which has just been written."""
    with whole_file(states_path(output)) as partial:
        states = {"id": [source.id for source in sources], "state": [state_digest(source) for source in sources]}
        pq.write_table(pa.table(states), partial, compression="zstd")
    about = About(
        vector_space=space,
        ranges=ranges,
        inputs=tuple(path.absolute() for path in inputs),
        config=config,
        output_sha256=file_digest(output),
        inputs_sha256=file_digest(states_path(output)),
    )
    with whole_file(about_path(output)) as partial:
        partial.write_text(about.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_states(output: Path) -> Mapping[str, str]:
    """State of every input that ``output`` was made of, by id."""
    table = pq.read_table(states_path(output))
    return dict(zip(table["id"].to_pylist(), table["state"].to_pylist(), strict=True))


def state_digest(source: Source) -> str:
    """Short form of the state of an input."""
    return hashlib.sha256(source.state.encode("utf-8", errors="replace")).hexdigest()[:16]

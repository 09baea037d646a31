"""A file of vectors brought up to date: what changed is embedded, or all of it when the vector space is another one.

The file that is there stays whole and in use until the new one is complete and takes its place in one move.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from components.embed.about import About, read_states, state_digest
from components.embed.inputs import find_sources
from components.embed.output import Row, parts_of
from components.embed.run import identity, run
from model.errors import ConfigError


@dataclass(frozen=True)
class Standing:
    """How a file of vectors stands to a model and to its inputs.

    Attributes:
        about: what the file is.
        space: vector space of the model.
        same_space: whether the vectors that are there can be kept.
        changed: ids that are new or have changed.
        gone: ids whose input is no longer there.
        total: inputs that are there now.
    """

    about: About
    space: str
    same_space: bool
    changed: frozenset[str]
    gone: frozenset[str]
    total: int

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to do."""
        return self.same_space and not self.changed and not self.gone

    def __str__(self) -> str:
        if not self.same_space:
            return (
                f"lies in vector space {self.about.vector_space}, the model embeds into {self.space}: "
                f"all {self.total} inputs must be embedded again"
            )
        if self.is_current:
            return f"is up to date: vector space {self.space}, {self.total} inputs"
        return (
            f"lies in the model's vector space {self.space}; of {self.total} inputs {len(self.changed)} are new or "
            f"changed, and {len(self.gone)} have gone"
        )


def compare(output: Path, model: Path) -> Standing:
    """Compare a file of vectors with a model and with the present inputs.

    Raises:
        DataError: ``output`` does not say what it is, or its inputs are not there.
        ArtifactError: ``model`` is no artifact.
    """
    about = About.beside(output)
    space, ranges = identity(model, about.config)
    sources, states = find_sources(about.inputs), read_states(output)
    return Standing(
        about=about,
        space=space,
        same_space=(space, ranges) == (about.vector_space, about.ranges),
        changed=frozenset(source.id for source in sources if states.get(source.id) != state_digest(source)),
        gone=frozenset(states) - {source.id for source in sources},
        total=len(sources),
    )


def reindex(output: Path, model: Path, standing: Standing) -> dict[str, int]:
    """Bring ``output`` up to date; interrupted, the same call goes on where it stopped.

    Returns:
        Counts of ``run``, and ``reused``: vectors taken over from the file that was there.

    Raises:
        DataError, ConfigError, ArtifactError: as of ``run``; ``output`` is as it was.
    """
    known = dict(_kept(output, standing)) if standing.same_space else {}
    arguments = {"inputs": standing.about.inputs, "model": model, "output": output}
    try:
        return run(standing.about.config, **arguments, known=known)  # type: ignore[arg-type]  # by name
    except ConfigError:
        if not parts_of(output).is_dir():
            raise
        shutil.rmtree(parts_of(output))  # pieces of a run for another model or other inputs: never to be mixed
        return run(standing.about.config, **arguments, known=known)  # type: ignore[arg-type]


def _kept(output: Path, standing: Standing) -> Iterator[tuple[str, Row]]:
    """Rows of inputs that have not changed."""
    for row in READERS[output.suffix](output):
        if row.id not in standing.changed and row.id not in standing.gone:
            yield row.id, row


def _parquet(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from (Row(**row) for row in batch.to_pylist())


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        yield from (Row(**json.loads(line)) for line in file)


def _npy(path: Path) -> Iterator[Row]:
    ids = path.with_name(path.name + ".ids.txt").read_text(encoding="utf-8").splitlines()
    for name, vector_D in zip(ids, np.load(path, allow_pickle=False), strict=True):
        yield Row(json.loads(name), vector=vector_D.tolist())


READERS = {".parquet": _parquet, ".jsonl": _jsonl, ".npy": _npy}

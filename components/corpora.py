"""Finding a corpus and naming its content."""

import hashlib
from pathlib import Path

from components.source import checkout
from model.errors import DataError
from model.integrity import file_digest


def find_corpus(path: str) -> Path:
    """Resolve a recipe's ``corpus``.

    Raises:
        DataError: no such directory, or no shard in it.
    """
    for candidate in (Path(path).expanduser(), checkout() / path):
        if candidate.is_dir():
            if not any(candidate.glob("*.parquet")):
                raise DataError(f"{candidate} has no *.parquet shard; 'corpus' must be a directory of shards")
            return candidate.resolve()
    raise DataError(f"no corpus at {path!r} (looked in {Path.cwd()} and {checkout()}); set 'corpus' in the recipe")


def corpus_digest(directory: Path) -> str:
    """First 32 hex digits of the SHA-256 over the names and bytes of the shards."""
    total = hashlib.sha256()
    for shard in sorted(directory.glob("*.parquet")):
        total.update(f"{shard.name}\0{file_digest(shard)}\0".encode())
    return total.hexdigest()[:32]

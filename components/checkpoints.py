"""Where a training stage keeps its checkpoints: a name made of everything that decides the result."""

import hashlib
from pathlib import Path

from components.source import source_digest

# Files that hold the digests of an input directory's content, written by the step that made it.
IDENTITIES = ("digests.json", "dataset.json", "index.json")


def checkpoint_directory(home: Path, component: str, config: str, *inputs: str | Path) -> Path:
    """Directory under ``home/checkpoints`` for one stage.

    The same configuration, code and input contents give the same directory, so a run that was killed finds what it
    had; any difference gives another one, so a checkpoint never meets data or code that it was not made for.

    Args:
        home: local state directory.
        component: name of the component that trains.
        config: JSON document of the stage.
        inputs: directories that the stage reads.
    """
    total = hashlib.sha256(f"{source_digest(component)}\0{config}".encode())
    for directory in inputs:
        total.update(identity(Path(directory)))
    return home / "checkpoints" / total.hexdigest()[:16]


def identity(directory: Path) -> bytes:
    """What changes when the content of a directory does."""
    known = [directory / name for name in IDENTITIES if (directory / name).is_file()]
    if known:
        return b"".join(hashlib.sha256(file.read_bytes()).digest() for file in known)
    listing = sorted((str(file.relative_to(directory)), file.stat().st_size) for file in directory.rglob("*"))
    return hashlib.sha256(repr(listing).encode()).digest()

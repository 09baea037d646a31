"""Files that are whole or not there, and files under two names."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, which becomes ``path`` in one move when the block ends well.

    A reader never sees half a file, and a block that raises leaves what was at ``path`` as it was. Directories above
    ``path`` are made. The name given ends in ``.partial``, so that nobody who looks for files of a kind finds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """A file under another name as well, by a hard link; a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

"""Files of a source: patterns, sizes and digests, here or remote."""

import hashlib
from pathlib import Path

from data.importing.places import Access, is_remote, local_path
from model.errors import DataError

BLOCK = 1 << 20
WILD = "*?["


def absolute(path: str, home: Path) -> str:
    """The place of a source as configured: relative paths start from ``home``."""
    return path if is_remote(path) else str((home / local_path(path).expanduser()).absolute())


def parent(place: str) -> str:
    """Directory of a file or pattern: what comes before the first wildcard."""
    steps = place.split("/")
    wild = next((i for i, step in enumerate(steps) if any(c in step for c in WILD)), len(steps) - 1)
    return "/".join(steps[:wild]) or "/"


def expand(access: Access, pattern: str) -> list[str]:
    """Files of a path or pattern in name order.

    Raises:
        DataError: there is none.
    """
    if is_remote(pattern):
        scheme = pattern.split("://", 1)[0]
        wild = any(c in pattern for c in "*[")
        found = (
            [f"{scheme}://{p}" if "://" not in p else p for p in sorted(access.ask(pattern, lambda s: s.glob(pattern)))]
            if wild
            else [pattern]
        )
    else:
        path = local_path(pattern)
        # A file whose name holds a bracket is meant as it stands.
        if path.exists() or not any(c in pattern for c in WILD):
            found = [str(path)] if path.is_file() else []
        else:
            root = Path(parent(pattern))
            found = [str(p) for p in sorted(root.glob(str(path.relative_to(root)))) if p.is_file()]
    if not found:
        raise DataError(f"there is no file {pattern}; source.path has to be a file, or a pattern such as rows-*.jsonl")
    return found


def size_of(access: Access, place: str) -> int:
    """Bytes of a file."""
    if is_remote(place):
        return int(access.ask(place, lambda system: system.size(place)) or 0)
    return local_path(place).stat().st_size


def digest_of(*parts: str | bytes | int) -> str:
    """Identity of a few values in order."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


def name_of(place: str) -> str:
    """Last part of a place, for messages and digests."""
    return place.rstrip("/").rsplit("/", 1)[-1]

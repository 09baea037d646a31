"""Digests of an artifact directory: written when it is made, checked before it is used."""

import hashlib
import json
from pathlib import Path

from model.errors import ArtifactError

DIGESTS = "digests.json"


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_digests(directory: Path) -> str:
    """Record the SHA-256 of every file below ``directory`` in ``digests.json`` and return the artifact digest."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != DIGESTS)
    found = {p.relative_to(directory).as_posix(): file_digest(p) for p in files}
    (directory / DIGESTS).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return artifact_digest(directory)


def artifact_digest(directory: Path) -> str:
    """Identity of an artifact: the first 16 hex digits of the SHA-256 over its recorded file digests.

    Raises:
        ArtifactError: the directory has no digests.
    """
    path = directory / DIGESTS
    if not path.is_file():
        raise ArtifactError(f"{directory} has no {DIGESTS}: not an Omnivec model artifact, or an incomplete one")
    return file_digest(path)[:16]


def verify_digests(directory: Path) -> None:
    """Check every recorded file.

    Raises:
        ArtifactError: naming the files that are missing or changed.
    """
    artifact_digest(directory)
    recorded: dict[str, str] = json.loads((directory / DIGESTS).read_text(encoding="utf-8"))
    bad = [name for name, digest in recorded.items() if not matches(directory / name, digest)]
    if bad:
        raise ArtifactError(
            f"{directory} does not match its digests: {', '.join(bad)} missing or changed; fetch it again"
        )


def matches(path: Path, digest: str) -> bool:
    """Whether a file is there and has this SHA-256."""
    return path.is_file() and file_digest(path) == digest

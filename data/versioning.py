"""Which version of a corpus this is: DVC's digest of the directory, compared with the one that ``dvc.lock`` records."""

import hashlib
import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

LOCK = "dvc.lock"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class CorpusVersion:
    """Identity of a corpus directory.

    Attributes:
        md5: DVC's digest of the directory, ending in ``.dir``.
        files: number of files.
        size: bytes in all.
        recorded: digest in ``dvc.lock``, ``None`` when the corpus is not tracked.
        revision: commit of the checkout that holds ``dvc.lock``, ``None`` outside a git checkout.
    """

    md5: str
    files: int
    size: int
    recorded: str | None = None
    revision: str | None = None

    @property
    def matches(self) -> bool | None:
        """Whether the files are the recorded ones; ``None`` when nothing is recorded."""
        return None if self.recorded is None else self.recorded == self.md5

    def describe(self) -> dict[str, Any]:
        """All fields and ``matches``, for JSON."""
        return {**asdict(self), "matches": self.matches}

    def sentence(self) -> str:
        """The state of the corpus in words."""
        found = f"{self.files} files, {self.size / 1e6:.1f} MB, DVC digest {self.md5}"
        if self.matches is None:
            return f"{found}; not tracked by DVC."
        if self.matches:
            return f"{found}; these are the files that {LOCK} records (commit {self.revision or 'unknown'})."
        return f"{found}; {LOCK} records {self.recorded}: the files were changed, run `dvc commit` if that is meant."


def corpus_version(directory: Path, *, recorded: str | None = None) -> CorpusVersion:
    """Digest a corpus and look up its record.

    Args:
        directory: the corpus.
        recorded: digest that it should have; without one, ``dvc.lock`` of the enclosing checkout is asked.
    """
    md5, files, size = directory_md5(directory)
    root = _lock_root(directory.resolve())
    known = recorded or (_recorded(root, directory.resolve()) if root else None)
    return CorpusVersion(md5, files, size, known, _revision(root) if root else None)


def directory_md5(directory: Path) -> tuple[str, int, int]:
    """DVC's digest of a directory, number of files and bytes in all.

    DVC takes the MD5 of a JSON list of (md5, relpath) sorted by path. That is the format of its cache, computed here
    because importing DVC takes seconds; a test compares both.
    """
    paths = sorted((p for p in directory.rglob("*") if p.is_file()), key=lambda p: p.relative_to(directory).as_posix())
    entries = [{"md5": _file_md5(p), "relpath": p.relative_to(directory).as_posix()} for p in paths]
    digest = hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    return f"{digest}.dir", len(paths), sum(p.stat().st_size for p in paths)


def _file_md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _lock_root(directory: Path) -> Path | None:
    return next((folder for folder in directory.parents if (folder / LOCK).is_file()), None)


def _recorded(root: Path, directory: Path) -> str | None:
    lock = yaml.safe_load((root / LOCK).read_text(encoding="utf-8")) or {}
    path = directory.relative_to(root).as_posix()
    outputs = [out for stage in (lock.get("stages") or {}).values() for out in stage.get("outs") or ()]
    return next((str(out["md5"]) for out in outputs if out.get("path") == path and "md5" in out), None)


def _revision(root: Path) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()

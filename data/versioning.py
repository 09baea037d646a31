"""Which version of a corpus this is: DVC's digest of the directory, compared with the one that is recorded for it."""

import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from data.versions.fetch import PROBES, directory_digest, file_md5, read_origin
from data.versions.origin import Entry
from model.errors import DataError

LOCK = "dvc.lock"


@dataclass(frozen=True)
class CorpusVersion:
    """Identity of a corpus directory.

    Attributes:
        md5: DVC's digest of the directory, ending in ``.dir``.
        files: number of files.
        size: bytes in all.
        recorded: digest in ``dvc.lock``, a ``.dvc`` file or the reference that was fetched; ``None`` when untracked.
        revision: commit of the checkout that holds the record, or that the reference names; ``None`` without git.
        remote: where the files were fetched from; ``None`` for a directory that was here.
        reference: the version that was fetched, in the form a recipe takes; ``None`` for a directory that was here.
    """

    md5: str
    files: int
    size: int
    recorded: str | None = None
    revision: str | None = None
    remote: str | None = None
    reference: str | None = None

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
        if self.reference is not None:
            return f"{found}; fetched from {self.remote} as {self.reference}."
        if self.matches:
            return f"{found}; these are the recorded files (commit {self.revision or 'unknown'})."
        return f"{found}; recorded is {self.recorded}: the files were changed, run `omnivec data add` if that is meant."


def corpus_version(directory: Path, *, recorded: str | None = None) -> CorpusVersion:
    """Digest a corpus and look up its record.

    Args:
        directory: the corpus.
        recorded: digest that it should have; without one, the ``.dvc`` file beside it or ``dvc.lock`` is asked.

    Raises:
        DataError: the directory was fetched as a pinned version and is not that version any more.
    """
    place = directory.resolve()
    root = _lock_root(place)
    known = recorded or _tracked(place) or (_recorded(root, place) if root else None)
    found = _digest(_files(directory))
    if known not in (None, found[0]) and (directory / PROBES).is_dir():
        # Whoever recorded it by `dvc add` alone may have recorded the findings too.
        whole = _digest(_files(directory, probes=True))
        found = whole if whole[0] == known else found
    if origin := read_origin(place):
        return _fetched(place, origin, CorpusVersion(*found, recorded))
    home = place.parent if _tracked(place) else root
    return CorpusVersion(*found, known, _revision(home) if home else None)


def _fetched(place: Path, origin: dict[str, Any], found: CorpusVersion) -> CorpusVersion:
    expected = origin["md5"] or found.md5
    if found.md5 != expected:
        raise DataError(
            f"{place} was fetched as {origin['reference']} with the digest {expected} and now has {found.md5}; "
            f"delete {place.parent} and run again"
        )
    names = ("revision", "remote", "reference")
    return replace(found, recorded=found.recorded or expected, **{name: origin[name] for name in names})


def directory_md5(directory: Path) -> tuple[str, int, int]:
    """DVC's digest of a directory without its probes, number of files and bytes in all.

    DVC takes the MD5 of a JSON list of (md5, relpath) sorted by path. That is the format of its cache, computed here
    because importing DVC takes seconds; a test compares both. Probes are findings about the shards and made again
    where they lack, so they are no part of a version.
    """
    return _digest(_files(directory))


def _files(directory: Path, *, probes: bool = False) -> dict[str, Path]:
    found = {p.relative_to(directory).as_posix(): p for p in directory.rglob("*") if p.is_file()}
    return {name: path for name, path in found.items() if probes or not name.startswith(f"{PROBES}/")}


def _digest(files: dict[str, Path]) -> tuple[str, int, int]:
    digest = directory_digest([Entry(name, file_md5(path)) for name, path in files.items()])
    return str(digest), len(files), sum(path.stat().st_size for path in files.values())


def _lock_root(directory: Path) -> Path | None:
    return next((folder for folder in directory.parents if (folder / LOCK).is_file()), None)


def _tracked(directory: Path) -> str | None:
    """Digest in the ``.dvc`` file that `dvc add` leaves beside a directory."""
    path = directory.with_name(f"{directory.name}.dvc")
    if not path.is_file():
        return None
    outputs = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("outs") or ()
    return next((str(out["md5"]) for out in outputs if out.get("path") == directory.name and "md5" in out), None)


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

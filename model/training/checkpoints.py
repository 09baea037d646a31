"""Checkpoints on disk that survive a kill at any moment, a power cut and a damaged file.

A checkpoint is a file, or a directory of shards, ``step-<n>.ckpt``; its manifest ``step-<n>.json`` holds the SHA-256 of
every file and is written last. So a checkpoint counts only when it is complete, and one that changed afterwards is
found out. The newest two are kept: where the newest is damaged, the one before it is used.
"""

import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from model.integrity import file_digest

FORMAT = "omnivec-checkpoint/1"
KEEP = 2
DATA, MANIFEST, PARTIAL, DAMAGED = ".ckpt", ".json", ".partial", ".damaged"


class CheckpointStore:
    """The checkpoints of one stage, by step.

    Args:
        directory: this stage's own directory; made when the first checkpoint is written.
        keep: how many of the newest are kept.
    """

    def __init__(self, directory: Path, *, keep: int = KEEP) -> None:
        self.directory = directory
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, newest first; their content is not checked."""
        return sorted(map(_step_of, self.directory.glob(f"step-[0-9]*{MANIFEST}")), reverse=True)

    def partial(self, step: int) -> Path:
        """Where to write the data of ``step`` before :meth:`commit`."""
        return self._path(step, PARTIAL)

    def prepare(self, step: int) -> None:
        """Make room for ``step``: what a kill left there is removed."""
        self.directory.mkdir(parents=True, exist_ok=True)
        _remove(self.partial(step))

    def commit(self, step: int, **facts: Any) -> Path:
        """Make the data written to :meth:`partial` the newest checkpoint, durably, and remove those past ``keep``.

        Args:
            step: optimizer steps done.
            facts: what else to note in the manifest, such as the number of processes.
        """
        partial, data = self._path(step, PARTIAL), self._path(step, DATA)
        files = {_relative(file, partial): file_digest(file) for file in _files(partial)}
        for file in _files(partial):
            _sync(file)
        self._path(step, MANIFEST).unlink(missing_ok=True)
        _remove(data)
        partial.replace(data)
        document = {"format": FORMAT, "step": step, "files": files, **facts}
        write_durably(self._path(step, MANIFEST), (json.dumps(document, indent=2) + "\n").encode())
        self._prune()
        return data

    def newest(self) -> tuple[int, Path] | None:
        """Step and data of the newest checkpoint whose digests match, or None where there is none.

        A damaged one is set aside and named on stderr, with what is used instead.
        """
        for step in self.steps():
            reason = self._damage(step)
            if reason is None:
                return step, self._path(step, DATA)
            sys.stderr.write(f"checkpoint of step {step} is damaged ({reason}): going back to the one before it\n")
            with suppress(FileNotFoundError):  # another process of this stage came first
                self._path(step, MANIFEST).replace(self._path(step, DAMAGED))
        return None

    def _damage(self, step: int) -> str | None:
        """What is wrong with a checkpoint, or None."""
        data = self._path(step, DATA)
        try:
            document = json.loads(self._path(step, MANIFEST).read_text(encoding="utf-8"))
            recorded = dict(document["files"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"unreadable manifest: {error}"
        if document.get("format") != FORMAT:
            return f"format {document.get('format')!r}, expected {FORMAT!r}"
        present = {_relative(file, data) for file in _files(data)}
        if lost := sorted(set(recorded) - present):
            return f"{', '.join(lost)} is missing"
        changed = [name for name, digest in recorded.items() if file_digest(_within(data, name)) != digest]
        return f"{', '.join(changed)} does not match its digest" if changed else None

    def _prune(self) -> None:
        """Remove what is older than the newest ``keep`` and what has no manifest; manifests go first."""
        kept = set(self.steps()[: self.keep])
        for step in self.steps()[self.keep :]:
            self._path(step, MANIFEST).unlink()
        for path in self.directory.glob("step-[0-9]*"):
            if _step_of(path) not in kept or path.suffix in (PARTIAL, DAMAGED):
                _remove(path)

    def _path(self, step: int, suffix: str) -> Path:
        return self.directory / f"step-{step:08d}{suffix}"


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-").split(".")[0])


def write_durably(path: Path, data: bytes) -> None:
    """Write a file in one move that is on disk when this returns: a reader sees the old content or the new."""
    partial = path.with_name(path.name + PARTIAL)
    partial.write_bytes(data)
    _sync(partial)
    partial.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Flush a file, or the names in a directory, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files(data: Path) -> list[Path]:
    if data.is_dir():
        return sorted(file for file in data.rglob("*") if file.is_file())
    return [data] if data.is_file() else []


def _relative(file: Path, data: Path) -> str:
    """Name of a file in the manifest; the data itself, when it is one file, is called ``.``."""
    return file.relative_to(data).as_posix()


def _within(data: Path, name: str) -> Path:
    return data if name == "." else data / name


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

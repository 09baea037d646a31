"""The directory by which a launcher and the processes that it starts talk, and how news of them is passed on."""

import json
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from components.train.config import TrainConfig
from components.train.worker import FAILED, JOB, RESULT
from model.training.history import Row


class Job:
    """A stage to be trained by other processes.

    Args:
        directory: made when it is missing; all processes see it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, config: TrainConfig, paths: Mapping[str, Path | None]) -> None:
        """Say what is to be done; words of an earlier attempt are removed."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for file in (self.directory / RESULT, *self._failures()):
            file.unlink(missing_ok=True)
        document = {
            "config": config.model_dump(mode="json"),
            "paths": {name: None if path is None else str(path.resolve()) for name, path in paths.items()},
        }
        (self.directory / JOB).write_text(json.dumps(document), encoding="utf-8")

    def result(self) -> dict[str, float]:
        """What ``run`` returned in the first process."""
        found: dict[str, float] = json.loads((self.directory / RESULT).read_text(encoding="utf-8"))
        return found

    def failure(self) -> tuple[str, bool] | None:
        """What the first process to fail said, and whether it would say so again; None where none said anything.

        One that is sure to fail again comes before those that fail because they lost it.
        """
        failed = sorted(self._failures(), key=lambda file: file.stat().st_mtime_ns)
        found = [(file.stem.rpartition("-")[2], json.loads(file.read_text(encoding="utf-8"))) for file in failed]
        for rank, facts in sorted(found, key=lambda item: not item[1].get("final", False)):
            return f"process {rank}: {facts['message']} ({facts['kind']})", bool(facts.get("final", False))
        return None

    def _failures(self) -> list[Path]:
        return list(self.directory.glob(FAILED.format(rank="*")))


def pass_on(rows: Iterable[Row], sinks: Sequence[Callable[..., None]]) -> None:
    """Hand what the first process logged to the sinks of this one."""
    for row in rows:
        scalars = {name: value for name, value in row.items() if name != "step"}
        for sink in sinks:
            sink(scalars, int(row["step"]))


@contextmanager
def on_sigterm(act: Callable[[], None]) -> Iterator[None]:
    """Call ``act`` when SIGTERM comes, in the main thread; elsewhere signals cannot be caught."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: act())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

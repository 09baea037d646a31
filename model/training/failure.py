"""Errors of worker processes on their way to the trainer."""

import traceback
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

from model.training.guard import TrainingError


class WorkerTraceback(Exception):  # noqa: N818 - the cause of an error, never raised alone
    """Where in a worker an error came up."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(frozen=True)
class Failure:
    """An error on its way to the trainer: what it says and knows, without what cannot travel."""

    kind: type[Exception]
    args: tuple[Any, ...]
    state: dict[str, Any]
    story: str

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """What to send of an error."""
        found = cls(type(error), error.args, dict(vars(error)), traceback.format_exc())
        try:
            ForkingPickler.dumps(found)
        except Exception:
            return cls(TrainingError, (f"{type(error).__name__}: {error}",), {}, found.story)
        return found

    def error(self) -> Exception:
        """The same error; made without its ``__init__``, whose arguments nobody knows any more."""
        made = self.kind.__new__(self.kind, *self.args)
        made.args = self.args
        vars(made).update(self.state)
        made.__cause__ = WorkerTraceback(self.story)
        return made

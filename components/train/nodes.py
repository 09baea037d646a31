"""The nodes of a ``TrainJob``: started, watched, read and removed by the client of the kubeflow SDK."""

import sys
import threading
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from model.training.guard import TrainingError

if TYPE_CHECKING:
    from kubeflow.trainer import TrainerClient

    from components.train.config import TrainJobConfig

COMPLETE, FAILED = "Complete", "Failed"
LINES_KEPT = 20
LOST_LOOKS = 10
GONE_SECONDS = 120
NOT_FOUND = 404


class Nodes:
    """One job by its name.

    Args:
        client: of the kubeflow SDK.
        name: of the job in its namespace.
    """

    def __init__(self, client: "TrainerClient", name: str) -> None:
        self.client = client
        self.name = name
        self._lost = 0

    def image(self, wanted: "TrainJobConfig") -> str:
        """The image to run: the one that is asked for, or that of the runtime.

        Raises:
            TrainingError: the cluster has no such runtime, or does not tell.
        """
        try:
            runtime = self.client.get_runtime(wanted.runtime)
        except (RuntimeError, TimeoutError) as error:
            raise TrainingError(
                f"runtime {wanted.runtime!r}: {_cause(error)}; install infra/runtimes/omnivec-torch.yaml, and let the "
                "step's ServiceAccount get trainingruntimes and clustertrainingruntimes (docs/guides/cluster.md)"
            ) from error
        return wanted.image or str(runtime.trainer.image)

    def active(self) -> bool:
        """Whether there is such a job that has not ended.

        Raises:
            TrainingError: the cluster does not tell.
        """
        try:
            job = self._job()
        except (RuntimeError, TimeoutError) as error:
            raise TrainingError(
                f"TrainJob {self.name}: {_cause(error)}; the step's ServiceAccount has to be allowed to get trainjobs "
                "and to list pods (docs/guides/cluster.md)"
            ) from error
        return job is not None and job.status not in (COMPLETE, FAILED)

    def start(self, trainer: tuple[Any, list[str]], options: list[Any], runtime: str) -> None:
        """Create the job.

        Raises:
            TrainingError: the cluster refuses.
        """
        from kubeflow.trainer.options import Name, TrainerCommand

        container, command = trainer
        try:
            self.client.train(
                runtime=runtime, trainer=container, options=[Name(self.name), TrainerCommand(command), *options]
            )
        except (RuntimeError, TimeoutError) as error:
            raise TrainingError(
                f"TrainJob {self.name} was not accepted: {_cause(error)}; the step's ServiceAccount has to be allowed "
                "to create trainjobs (docs/guides/cluster.md)"
            ) from error
        self._lost = 0

    def over(self) -> str | None:
        """``Complete`` or ``Failed`` when the job has ended. A cluster that does not answer for a while is waited for.

        Raises:
            TrainingError: it does not answer any more.
        """
        try:
            job = self._job()
        except (RuntimeError, TimeoutError) as error:
            self._lost += 1
            if self._lost >= LOST_LOOKS:
                raise TrainingError(f"TrainJob {self.name}: the cluster does not answer: {_cause(error)}") from error
            return None
        self._lost = 0
        if job is None:
            return FAILED  # somebody deleted it
        return str(job.status) if job.status in (COMPLETE, FAILED) else None

    def describe(self) -> str:
        """How the job and its nodes are, for people."""
        job = self._job()
        if job is None:
            return "the job is gone"
        nodes = ", ".join(f"{step.name} {step.status}" for step in job.steps) or "no node was made"
        return f"job {job.status}; {nodes}"

    def clear(self) -> None:
        """Delete the job, if there is one, and wait until it is gone.

        Raises:
            TrainingError: it stays.
        """
        until = time.monotonic() + GONE_SECONDS
        if self._job() is not None:
            self.client.delete_job(self.name)
        while self._job() is not None:
            if time.monotonic() > until:
                raise TrainingError(f"TrainJob {self.name} is still there {GONE_SECONDS} s after it was deleted")
            time.sleep(0.5)

    def _job(self) -> Any:
        try:
            return self.client.get_job(self.name)
        except RuntimeError as error:
            if getattr(error.__cause__, "status", None) == NOT_FOUND:
                return None
            raise


class Lines:
    """Passes the log of the first node on to stderr, line by line, and keeps the last lines."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self._kept: deque[str] = deque(maxlen=LINES_KEPT)
        self._seen = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()

    def finish(self) -> None:
        """Wait for the last lines of a job that has ended."""
        self._over.set()
        self._thread.join(10)

    def last(self) -> str:
        """The last lines."""
        return "\n".join(self._kept) or "(none)"

    def _read(self) -> None:
        """Follow the log; where the connection breaks, take it up after the lines that are known."""
        while True:
            last = self._over.is_set()
            try:
                for number, line in enumerate(self.nodes.client.get_job_logs(self.nodes.name, follow=not last)):
                    if number >= self._seen:
                        self._seen += 1
                        self._kept.append(line)
                        sys.stderr.write(line + "\n")
            except Exception as error:  # the client raises many kinds; the log is not the work
                if last:
                    sys.stderr.write(f"log of {self.nodes.name}: {error}\n")
            if last:
                return
            self._over.wait(1)


def _cause(error: BaseException) -> str:
    """What the API server said, where it said something."""
    cause = error.__cause__
    reason = getattr(cause, "reason", None)
    return f"{error} ({getattr(cause, 'status', '')} {reason})" if reason else f"{error}"

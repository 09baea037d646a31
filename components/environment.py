"""The one place that reads environment variables for steps: shells and the command line call it, work code never."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

HOME = "OMNIVEC_HOME"
RUN_ID = "OMNIVEC_RUN_ID"
TRACKING_URI = "MLFLOW_TRACKING_URI"
PARENT_RUN = "MLFLOW_RUN_ID"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"


@dataclass(frozen=True)
class Environment:
    """Where local state lives and which MLflow run the steps belong to.

    Attributes:
        home: directory of all local state.
        tracking_uri: MLflow tracking and registry address.
        parent_run: MLflow run that step runs nest under; ``None`` when each step makes its own.
        run_id: name of the pipeline run, the folder under ``home/runs``.
        experiment: MLflow experiment, used when no parent run decides it.
    """

    home: Path
    tracking_uri: str
    parent_run: str | None = None
    run_id: str | None = None
    experiment: str = "omnivec"

    @classmethod
    def from_env(cls, variables: Mapping[str, str] | None = None) -> Self:
        """Read ``OMNIVEC_HOME``, ``OMNIVEC_RUN_ID`` and the ``MLFLOW_*`` variables that Kubeflow injects."""
        given = os.environ if variables is None else variables
        home = Path(given.get(HOME) or Path.cwd() / ".omnivec").expanduser().absolute()
        return cls(
            home=home,
            tracking_uri=given.get(TRACKING_URI) or local_store(home),
            parent_run=given.get(PARENT_RUN) or None,
            run_id=given.get(RUN_ID) or None,
            experiment=given.get(EXPERIMENT) or "omnivec",
        )

    @classmethod
    def local(cls, home: Path, *, parent_run: str | None = None) -> Self:
        """A self-contained environment under ``home`` (tests, laptop)."""
        return cls(home=home.absolute(), tracking_uri=local_store(home.absolute()), parent_run=parent_run)

    @property
    def artifact_location(self) -> str | None:
        """Where artifacts of a local store go; ``None`` when a server decides."""
        return (self.home / "mlartifacts").as_uri() if self.tracking_uri.startswith("sqlite:") else None

    def variables(self) -> dict[str, str]:
        """The same values as environment variables, to hand to a child process."""
        values = {HOME: str(self.home), TRACKING_URI: self.tracking_uri, EXPERIMENT: self.experiment}
        optional = {PARENT_RUN: self.parent_run, RUN_ID: self.run_id}
        return values | {name: value for name, value in optional.items() if value}


def local_store(home: Path) -> str:
    """Address of the MLflow database under ``home``."""
    return f"sqlite:///{home / 'mlflow.db'}"

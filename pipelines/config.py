"""One run: the configurations of all its steps, in one document."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from components.drift.config import DriftStepConfig
from components.evaluate.config import EvaluateConfig
from components.export.config import ExportConfig
from components.features.config import FeaturesConfig
from components.gate.config import GateConfig
from components.init_model.config import InitModelConfig
from components.register.config import RegisterConfig
from components.serve_check.config import ServeCheckConfig
from components.train.config import LaunchConfig
from components.validate.config import ValidateConfig
from model.config import Config
from model.errors import ConfigError
from model.training.config import AnyStage, SoupConfig
from pipelines.cluster import ClusterConfig


class RunConfig(Config):
    """Everything a run depends on, except the content of the corpus and the code.

    Attributes:
        name: name of the run in MLflow and in the list of runs.
        corpus: directory of shards; a relative path is looked for in the working directory, then in the checkout.
        data: what is accepted: licences, languages, checks.
        model: family and initial weights.
        features: cache of the frozen towers' output.
        stages: training stages in order; each starts from the one before it.
        launch: how many processes train a stage together.
        evaluation: tasks and statistics.
        export: ONNX and its parity check.
        registry: name and tags of the registered model.
        serving: the check that boots the server.
        gate: what a candidate must satisfy to become champion.
        drift: detector and its two windows.
        cluster: images and resources; unused on a laptop.
    """

    name: str = Field(min_length=1, pattern=r"^[a-z0-9][a-z0-9-]*$")
    corpus: str = "data/starter"
    data: ValidateConfig
    model: InitModelConfig
    features: FeaturesConfig
    stages: tuple[AnyStage, ...] = Field(min_length=1)
    launch: LaunchConfig = LaunchConfig()
    evaluation: EvaluateConfig
    export: ExportConfig
    registry: RegisterConfig
    serving: ServeCheckConfig
    gate: GateConfig
    drift: DriftStepConfig
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="after")
    def _soup_follows_training(self) -> Self:
        kinds = [stage.kind for stage in self.stages]
        lonely = [i for i, kind in enumerate(kinds) if kind == "soup" and (i == 0 or kinds[i - 1] == "soup")]
        if lonely:
            raise ValueError(f"stages.{lonely[0]} is a soup and needs a training stage right before it, got {kinds}")
        return self


def check_directories(config: RunConfig) -> None:
    """See, before anything starts on this machine, that what the stages take from other runs is here.

    Raises:
        ConfigError: naming every teacher and soup ingredient that is not a directory.
    """
    named: dict[str, str] = {}
    for position, stage in enumerate(config.stages):
        if isinstance(stage, SoupConfig):
            named |= {f"stages.{position}.ingredients.{i}": place for i, place in enumerate(stage.ingredients)}
        elif stage.teacher is not None:
            named[f"stages.{position}.teacher"] = stage.teacher.directory
    if missing := [f"  {path}: {place}" for path, place in named.items() if not Path(place).is_dir()]:
        raise ConfigError("\n".join(["no such directory; give one that is on this machine:", *missing]))

"""One run: the configurations of all its steps, in one document."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from components.audit.config import AuditConfig
from components.drift.config import DriftStepConfig
from components.evaluate.config import EvaluateConfig
from components.export.config import ExportConfig
from components.features.config import FeaturesConfig
from components.gate.config import GateConfig
from components.init_model.config import InitModelConfig
from components.mine.config import MineConfig
from components.register.config import RegisterConfig
from components.serve_check.config import ServeCheckConfig
from components.train.config import LaunchConfig
from components.validate.config import ValidateConfig
from data.versioning import directory_md5
from model.config import Config
from model.errors import ConfigError
from model.training.config import SoupConfig, StageConfig
from pipelines.cluster import ClusterConfig

AnyStage = Annotated[StageConfig | MineConfig | SoupConfig, Field(discriminator="kind")]
NOT_TRAINING = frozenset({"mine", "soup"})


class RunConfig(Config):
    """Everything a run depends on, except the content of the corpus and the code.

    Attributes:
        name: name of the run in MLflow and in the list of runs.
        corpus: directory of shards; a relative path is looked for in the working directory, then in the checkout. Or a
            version that DVC keeps, such as ``dvc://REPOSITORY#PATH@REVISION`` (``docs/guides/versions.md``).
        data: what is accepted: licences, languages, checks.
        audit: what counts as a leak or a duplicate, and what is done about it.
        model: family and initial weights.
        features: cache of the frozen towers' output.
        stages: training stages in order; each starts from the one before it. ``mine`` gives those after it a corpus
            with hard negatives, ``soup`` blends what the stage before it made.
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
    audit: AuditConfig = AuditConfig()
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
    def _stages_follow_each_other(self) -> Self:
        kinds = [stage.kind for stage in self.stages]
        for position, kind in enumerate(kinds):
            if kind == "soup" and (position == 0 or kinds[position - 1] in NOT_TRAINING):
                raise ValueError(f"stages.{position} is a soup and needs a training stage right before it, got {kinds}")
            if kind == "mine" and NOT_TRAINING.issuperset(kinds[position + 1 :]):
                raise ValueError(f"stages.{position} mines, and no training stage after it learns from it, got {kinds}")
        return self


def directories_of(stage: AnyStage) -> dict[str, str]:
    """Directories that a stage takes from other runs, by the field that names each."""
    if isinstance(stage, SoupConfig):
        return {f"ingredients.{i}": place for i, place in enumerate(stage.ingredients)}
    if isinstance(stage, MineConfig):
        return {"judge.model": stage.judge.model} if stage.judge is not None else {}
    return {"teacher": stage.teacher.directory} if stage.teacher is not None else {}


def contents_of(stage: AnyStage) -> dict[str, str]:
    """Digest of each of these directories that is on this machine."""
    places = [Path(place) for place in directories_of(stage).values()]
    return {str(place): directory_md5(place)[0] for place in places if place.is_dir()}


def check_directories(config: RunConfig) -> None:
    """See, before anything starts on this machine, that what the stages take from other runs is here.

    Raises:
        ConfigError: naming every teacher, judge and soup ingredient that is not a directory.
    """
    named = {
        f"stages.{position}.{field}": place
        for position, stage in enumerate(config.stages)
        for field, place in directories_of(stage).items()
    }
    if missing := [f"  {path}: {place}" for path, place in named.items() if not Path(place).is_dir()]:
        raise ConfigError("\n".join(["no such directory; give one that is on this machine:", *missing]))

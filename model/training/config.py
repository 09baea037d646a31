"""What a training stage is: tasks with weights and batch sizes, what learns and how fast."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from model.config import Config
from model.losses.config import LossConfig
from model.training.distillation import TeacherConfig


class TaskConfig(Config):
    """One task of a stage. Every batch holds one task only."""

    name: str
    weight: float = Field(1.0, gt=0, description="share of the steps, relative to the other tasks")
    batch_size: int = Field(64, ge=2)
    languages: tuple[str, ...] = Field((), description="records in any of these languages; all when empty")
    sources: tuple[str, ...] = Field((), description="shards to use; all when empty")
    hard_negatives: int = Field(0, ge=0, description="explicit negatives per query, where the record has them")
    positives: int = Field(1, ge=1, description="positives per query, where the record has several")
    temperature: float | None = Field(None, gt=0, le=1, description="overrides the temperature of the stage")
    loss: LossConfig | None = Field(None, description="replaces the loss of the stage")
    query_task: str | None = Field(None, description="named task whose prefix the queries get, as in model.prompts")
    document_task: str | None = Field(None, description="the same for positives and hard negatives")


class LoraConfig(Config):
    """Low-rank adapters in place of full fine-tuning (sentence_transformer family); merged when the stage ends.

    The rate of the adapters is that of the prefix ``lora`` in ``trainable``.
    """

    rank: int = Field(16, ge=1, le=1024)
    alpha: int = Field(32, ge=1, description="the update is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] = Field((), description="names of linear layers, such as q_proj; all when empty")


class AdamWConfig(Config):
    """What of the optimizer is seldom changed; rates and decay are fields of the stage. Source: arXiv 1711.05101."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.999), description="decay of the means of the gradient and of its square"
    )
    eps: float = Field(1e-8, gt=0, description="added to the root of the mean square")


class StageConfig(Config):
    """A training stage.

    ``align`` (large batches, in-batch negatives) and ``finetune`` (tasks, hard negatives) differ in name only;
    ``distill`` learns from a teacher, beside or in place of the contrastive loss.
    """

    kind: Literal["align", "finetune", "distill"]
    steps: int = Field(ge=1)
    tasks: tuple[TaskConfig, ...] = Field(min_length=1)
    trainable: dict[str, float] = Field(
        description="parameter name prefix -> learning rate; the longest matching prefix wins, the rest is frozen"
    )
    temperature: float = Field(0.05, gt=0, le=1)
    loss: LossConfig = LossConfig()
    dimensions: tuple[int, ...] = Field((), description="Matryoshka prefixes in the loss; all of the model when empty")
    micro_batch_tokens: int | None = Field(
        None,
        ge=1,
        description="embed a batch in pieces of at most so many padded tokens (gradient caching): memory of one piece, "
        "for one more forward pass; the whole batch at once when empty",
    )
    prefix_dropout: float = Field(0.0, ge=0, le=1, description="share of contents that lose their task prefix")
    lora: LoraConfig | None = None
    size_exponent: float = Field(
        0.0, ge=0, le=1, description="shares of steps go with weight x groups^this: 0 weights alone, 1 by size"
    )
    teacher: TeacherConfig | None = Field(None, description="of a distill stage, and only of one")
    weight_decay: float = Field(0.01, ge=0)
    adamw: AdamWConfig = AdamWConfig()
    warmup_steps: int = Field(20, ge=0)
    schedule: Literal["cosine", "linear", "constant", "wsd"] = Field(
        "cosine", description="how rates fall after the warm-up; wsd: they stay, then fall over the last decay_share"
    )
    final_rate: float = Field(0.0, ge=0, le=1, description="share of its rate at which a schedule that falls ends")
    decay_share: float = Field(0.2, gt=0, le=1, description="share of the steps after the warm-up in which wsd falls")
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="hand on a moving average of the weights with this decay, e.g. 0.999; shorter in the first steps",
    )
    gradient_clip: float = Field(1.0, gt=0)
    dropout: float | None = Field(
        None, ge=0, lt=1, description="in the layers of the trunk that learn; as the trunk was pretrained when empty"
    )
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    activation_checkpointing: bool = Field(
        False, description="keep only the inputs of the trunk's layers: less memory, for one more forward pass of each"
    )
    seed: int = 7
    checkpoint_every_steps: int = Field(50, ge=1)
    checkpoint_every_minutes: float = Field(10, gt=0, description="besides; what comes first")
    max_bad_steps: int = Field(
        3, ge=1, description="a step with a loss or gradient that is not finite changes nothing; so many in a row stop"
    )
    snapshots: int = Field(0, ge=0, description="weights kept along the run, evenly spaced, as soup ingredients")
    log_every_steps: int = Field(10, ge=1)

    @model_validator(mode="after")
    def _tasks_are_distinct(self) -> Self:
        names = [t.name for t in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"each task may appear once in a stage, got {names}")
        if not self.trainable:
            raise ValueError("trainable is empty: nothing would learn; give e.g. {projectors: 1.0e-3}")
        return self

    @model_validator(mode="after")
    def _teacher_fits_kind(self) -> Self:
        if (self.kind == "distill") != (self.teacher is not None):
            raise ValueError(
                "a distill stage needs a teacher, and other kinds have none: give kind: distill with "
                "teacher: {model: DIRECTORY} or teacher: {vectors: DIRECTORY}"
            )
        return self

    def loss_of(self, task: TaskConfig) -> LossConfig:
        """The loss of a task: its own, or else the stage's."""
        return task.loss or self.loss


class SoupConfig(Config):
    """Average of checkpoints, gated on the validation split so that it is never worse than its best ingredient."""

    kind: Literal["soup"] = "soup"
    method: Literal["uniform", "greedy", "slerp"] = Field(
        "greedy",
        description="average all; or best first, each only where the score does not fall: by average, or along the arc",
    )
    ingredients: tuple[str, ...] = Field(
        (), description="artifacts of other runs from the same start, as directories; besides those along this run"
    )
    tasks: tuple[str, ...] = Field(("text_to_image", "speech_to_text", "text_to_video", "bitext"), min_length=1)
    queries_per_task: int = Field(150, ge=10)
    query_task: str | None = Field(None, description="named task whose prefix the validation queries get")
    document_task: str | None = None
    seed: int = 7

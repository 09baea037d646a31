"""A training stage against sentence-transformers' own trainer: the same weights, pairs, batches, order and settings.

Ours is the stage as a run trains it: sampler, preprocessing, Lightning, guard and figures. The peer is
``SentenceTransformerTrainer`` with ``CachedMultipleNegativesRankingLoss`` in both directions, with our batches in our
order. Its micro batches are as many rows as our budget of tokens holds at the longest, or as many tokens. Both train
the whole trunk and the head with the same AdamW groups, schedule and clipping and without dropout, so that their losses
have to be equal.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers import PeerBatching, text_peer, train_peer
from benchmarks.rows import BenchmarkError, Row
from benchmarks.setting import Setting
from components.train.feed import BatchMaker
from data.corpus import Corpus
from data.records import Record
from data.sampling import TaskSampler
from model.content import Content, Modality
from model.training.config import StageConfig
from model.training.stage import run_stage
from model.unified.encoder import UnifiedEncoder

PAIR_TASKS = ("heading_to_passage", "docstring_to_code", "bitext")
MIXED = "text_pairs"
ROUNDS = 3
EARLY, EARLY_AGREEMENT, AGREEMENT = 3, 1e-3, 1e-2
MICRO_BATCH_TOKENS = 1024
PEERS = {
    "rows": PeerBatching(rows=8),  # of at most 128 tokens, so at most as many tokens at a time
    "tokens": PeerBatching(rows=8, tokens=MICRO_BATCH_TOKENS),
}


@dataclass(frozen=True)
class Load:
    """What is trained: the size of a run and of its batches, and whether tasks share a batch.

    Attributes:
        mixed: every batch holds pairs of all tasks, as when a data set is one table; else of one task, in turn.
        steps: of a run; the first is not counted.
        pairs: in a batch.
        micro_batch_tokens: embedded at a time.
    """

    mixed: bool
    steps: int = 4
    pairs: int = 48
    micro_batch_tokens: int = MICRO_BATCH_TOKENS

    def stage(self, width: int) -> StageConfig:
        """The stage of one run, with the loss at full ``width`` only."""
        names = (MIXED,) if self.mixed else PAIR_TASKS
        return StageConfig.parse(
            {
                "kind": "finetune",
                "steps": self.steps,
                "tasks": [{"name": name, "batch_size": self.pairs} for name in names],
                "trainable": {"trunk": 2e-5, "head": 2e-5},
                "micro_batch_tokens": self.micro_batch_tokens,
                "dimensions": [width],
                "warmup_steps": 1,
                "checkpoint_every_steps": self.steps,
                "log_every_steps": 1,
            }
        )


@dataclass
class Curve:
    """Losses of a run, and when and at how much processor time each of its steps was over."""

    losses: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)

    def add(self, loss: float) -> None:
        """A step is over."""
        self.losses.append(loss)
        self.ends.append(time.perf_counter())
        self.spent.append(time.process_time())

    @property
    def seconds(self) -> float:
        """From the end of the first step to that of the last: batches, steps and figures, no start and no end."""
        return self.ends[-1] - self.ends[0]

    @property
    def processor_seconds(self) -> float:
        """The same in time of all threads, which does not count other processes."""
        return self.spent[-1] - self.spent[0]


def train_row(setting: Setting, *, load: Load, peer: str, name: str) -> Row:
    """Pairs per second of both sides in turn, each from the initial weights in every round.

    Raises:
        BenchmarkError: their losses differ.
    """
    stage, batching = load.stage(setting.encoder.dimensions[0]), PEERS[peer]
    pairs = [pair for step in range(stage.steps) for pair in texts_of(_batches(setting, stage), step)]
    model = text_peer(setting.encoder, setting.cache)
    theirs = partial(train_peer, model, pairs, stage, batching=batching, directory=setting.cache / "peer-trainer")
    sides: tuple[Callable[[], Curve], ...] = (partial(train_ours, setting, stage), lambda: _curve(theirs))
    rounds = min(setting.rounds, ROUNDS)
    found: list[list[Curve]] = [[], []]
    for turn in range(rounds):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            found[side].append(sides[side]())
        apart = check_losses(*(curves[-1].losses for curves in found))
    counted = load.pairs * (stage.steps - 1)
    ratios = [p.seconds / o.seconds for o, p in zip(*found, strict=True)]
    processor = statistics.median(p.processor_seconds / o.processor_seconds for o, p in zip(*found, strict=True))
    return Row(
        name=name,
        ours=round(counted / statistics.median(curve.seconds for curve in found[0]), 2),
        peer=f"sentence-transformers trainer, CachedMultipleNegativesRankingLoss, {batching}",
        peer_value=round(counted / statistics.median(curve.seconds for curve in found[1]), 2),
        ratio=round(statistics.median(ratios), 3),
        unit="pairs/s",
        hardware=setting.hardware,
        note=f"{load.pairs} pairs a batch{' of all tasks' if load.mixed else ', one task each'}, "
        f"{load.micro_batch_tokens} tokens at a time, {_lengths(setting.encoder, pairs)}; {stage.steps - 1} steps, "
        f"{rounds} rounds in turn, ratios {min(ratios):.2f} to {max(ratios):.2f} ({processor:.2f} by processor time), "
        f"losses within {apart:.1e}",
    )


def train_ours(setting: Setting, stage: StageConfig) -> Curve:
    """Run the stage from the initial weights."""
    encoder = initial(setting.artifact)
    curve = Curve()
    with tempfile.TemporaryDirectory(dir=_made(setting.cache)) as checkpoints:
        run_stage(
            encoder,
            stage,
            _batches(setting, stage, encoder),
            checkpoints=Path(checkpoints),
            sinks=[lambda scalars, _: curve.add(scalars["loss"])],
        )
    return curve


def initial(artifact: Path) -> UnifiedEncoder:
    """The text side of an artifact, without dropout, whose random numbers the two sides could not share."""
    from torch import nn

    encoder = UnifiedEncoder.load(artifact, modalities=frozenset({Modality.TEXT}))
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return encoder


def check_losses(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Largest relative difference of two loss curves.

    Raises:
        BenchmarkError: it is more than rounding explains, so that the two sides do not do the same work.
    """
    apart = [abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)]
    if not (max(apart[:EARLY]) < EARLY_AGREEMENT and max(apart) < AGREEMENT):
        raise BenchmarkError(
            f"both sides must have the same losses, within {EARLY_AGREEMENT} in the first {EARLY} steps and "
            f"{AGREEMENT} later; ours {[round(x, 5) for x in ours]}, theirs {[round(x, 5) for x in theirs]}"
        )
    return max(apart)


def texts_of(batches: BatchMaker, step: int) -> list[tuple[str, str]]:
    """Queries and documents of a step as plain texts, in the order of the batch."""
    examples = [batches.corpus.resolve(record) for record in batches.sampler.draw(step).records]
    return [(_text(e.query), _text(e.positives[0])) for e in examples]


def _batches(setting: Setting, stage: StageConfig, encoder: UnifiedEncoder | None = None) -> BatchMaker:
    """The batches of the stage, drawn as in a run; a mixed task holds the records of all."""
    corpus = Corpus(setting.corpus, splits=("train",), tasks=PAIR_TASKS)
    mixed = stage.tasks[0].name == MIXED
    records: list[Record] = [replace(r, task=MIXED) if mixed else r for r in corpus.records if len(r.positives) == 1]
    sampler = TaskSampler(records, stage.tasks, steps=stage.steps, seed=stage.seed)
    return BatchMaker(corpus, sampler, encoder or setting.encoder, seed=stage.seed, loss=stage.loss)


def _curve(train: Callable[..., Any]) -> Curve:
    curve = Curve()
    train(on_step=curve.add)
    return curve


def _text(content: Any) -> str:
    (part,) = content.parts
    return str(part.text)


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _lengths(encoder: UnifiedEncoder, pairs: Sequence[tuple[str, str]]) -> str:
    counts = [encoder.count_tokens(Content.of(text))[Modality.TEXT] for pair in pairs for text in pair]
    return f"texts of {min(counts)} to {max(counts)} tokens, median {statistics.median(counts):.0f}"


ROWS: dict[str, Callable[[Setting], Row]] = {
    name: partial(train_row, load=Load(mixed=mixed), peer=peer, name=name)
    for mixed in (True, False)
    for peer in PEERS
    for name in (f"train-{'mixed' if mixed else 'tasks'}-{peer}",)
}

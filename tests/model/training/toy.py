"""A stage of four pairs of a word and a picture, without a corpus."""

from collections.abc import Callable

import torch

from model.content import Content, image
from model.losses.pairing import Pairing
from model.training.batch import StepBatch
from model.training.config import StageConfig
from tests.conftest import make_png

WORDS = ("cat", "dog", "sun", "tree")


def stage_of(**changes: object) -> StageConfig:
    """The stage, with changes."""
    base = {
        "kind": "align",
        "steps": 4,
        "tasks": [{"name": "text_to_image", "batch_size": 4}],
        "trainable": {"projectors": 1e-2},
        "log_every_steps": 1,
        "warmup_steps": 2,
    }
    return StageConfig.parse({**base, **changes})


def toy_batches(encoder, stage: StageConfig) -> Callable[[int], StepBatch]:
    """Every step the same four pairs, in an order of its own."""
    pairs = [(Content.of(word), Content.of(image(make_png(i)))) for i, word in enumerate(WORDS)]

    def make(step: int) -> StepBatch:
        order = torch.randperm(4, generator=torch.Generator().manual_seed(step)).tolist()
        key_N = torch.tensor(order)
        return StepBatch(
            task=stage.tasks[0],
            step=step,
            query=encoder.preprocess([pairs[i][0] for i in order]),
            document=encoder.preprocess([pairs[i][1] for i in order]),
            pairing=Pairing.of(
                torch.arange(4),
                torch.ones(4, dtype=torch.bool),
                4,
                query_key_N=key_N,
                document_key_M=key_N + 10,
                group_N=key_N,
                group_M=key_N,
                label_N=None,
                label_M=None,
            ),
            ids=tuple(f"r{i}" for i in range(4)),
        )

    return make

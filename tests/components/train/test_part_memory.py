"""Memory of a step in parts does not grow with the pictures of its batch."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from components.train.feed import BatchMaker
from data.corpus import Corpus
from data.sampling import TaskSampler
from data.shards import write_shard
from model.content import Modality, media_digest
from model.losses.cache import backward_in_pieces
from model.losses.config import LossConfig
from model.losses.contrastive import contrastive_loss
from model.training import parts
from model.training.config import TaskConfig
from model.training.loading import Loading
from model.training.pieces import lazy_pieces
from model.unified.batch import UnifiedBatch
from model.unified.preprocess import Preprocessor
from tests.components.train.conftest import toy_pair
from tests.conftest import make_png

SIDE, FEW, MANY = 96, 64, 512
PART = 2**19


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pictures")
    media, rows = {}, []
    for i in range(MANY):
        data = make_png(i, 8, 8)
        media[digest := media_digest(data)] = (Modality.IMAGE, data)
        rows.append(toy_pair(i, Modality.IMAGE, digest))
    assert len(media) == MANY
    write_shard(directory / "toy.parquet", rows, media)
    return directory


def maker(encoder: Any, dataset: Path, count: int, keep_bytes: int) -> BatchMaker:
    encoder.config = encoder.config.model_copy(update={"image": encoder.config.image.model_copy(update={"size": SIDE})})
    encoder.preprocessor = Preprocessor(encoder.config, encoder.preprocessor.tokenizer_json, encoder.modalities)
    corpus = Corpus(dataset, splits=("train",))
    sampler = TaskSampler(corpus.records, (TaskConfig(name="text_to_image", batch_size=count),), steps=2, seed=0)
    return BatchMaker(corpus, sampler, encoder, keep_bytes=keep_bytes)


def peak(make: BatchMaker, *, lazy: bool) -> tuple[int, list[torch.Tensor]]:
    """Bytes of Python and numpy at most in a step, decoding included, and its gradients."""
    torch.manual_seed(0)
    network = nn.Linear(4, 8)

    def embed(side: Any) -> torch.Tensor:
        """Of the mean colours of pictures and the lengths of texts: the pixels matter, and cost no time."""
        assert isinstance(side, UnifiedBatch)
        seen_N4 = np.zeros((len(side), 4), dtype=np.float32)
        seen_N4[:, 3] = side.mask_NL.sum(1) / 10
        for media in side.media.values():
            for call in media.calls:
                seen_N4[media.row_K[call.tokens_BT[:, 0]], :3] = call.inputs.mean((2, 3), dtype=np.float32) / 255
        return nn.functional.normalize(network(torch.from_numpy(seen_N4)), dim=1)

    tracemalloc.start()
    try:
        batch = next(iter(Loading(make, 1, lambda: 0, lazy=lazy)))
        sides = [lazy_pieces(side, 64 * 40, embed) for side in (batch.query, batch.document)]
        backward_in_pieces(
            sides,
            lambda q, d: contrastive_loss(q, d, batch.pairing, LossConfig(), temperature=0.1, dimensions=(8,)),
            torch.device("cpu"),
        )
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return most, [p.grad for p in network.parameters()]


def test_the_peak_is_that_of_a_few_parts(tiny_encoder: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", PART)
    pixels, keep = MANY * 3 * SIDE**2, 4 * PART
    many = maker(tiny_encoder, pictures, MANY, 0)
    assert len(many.plan(0).orders[1]) > 20
    small, _ = peak(maker(tiny_encoder, pictures, FEW, 0), lazy=True)
    large, found = peak(many, lazy=True)
    kept, kept_found = peak(maker(tiny_encoder, pictures, MANY, keep), lazy=True)
    whole, expected = peak(many, lazy=False)
    assert whole > pixels, "the measure finds the pixels where they are all there"
    assert large < 7 * PART < pixels / 3
    assert large - small < pixels / 10, "eight times the pictures"
    assert large + keep / 2 < kept < large + keep + PART
    for a, b, c in zip(found, kept_found, expected, strict=True):
        assert torch.equal(a, b)
        assert c.abs().max() > 1e-4
        assert torch.allclose(a, c, rtol=1e-4, atol=1e-6)

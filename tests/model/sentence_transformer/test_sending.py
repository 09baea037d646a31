"""The preprocessing of a model goes to another process without its weights, and makes the same batches there."""

from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch

from model.artifact import load_encoder
from model.training.families import preprocessing_of
from tests.model.sentence_transformer.conftest import EXPECTED, contents_for


@pytest.mark.parametrize("name", list(EXPECTED))
def test_preprocessing_travels_without_the_weights(artifact: Callable[[str], Path], name: str) -> None:
    encoder = load_encoder(artifact(name))
    contents = contents_for(encoder)
    sent = preprocessing_of(encoder)
    found = ForkingPickler.loads(ForkingPickler.dumps(sent))
    assert all(tensor.is_meta for tensor in found.__self__.encoder.parameters())
    assert not any(tensor.is_meta for tensor in encoder.parameters()), "the trainer keeps its own"
    ours, theirs = found(contents), encoder.preprocess(contents)
    assert [group.rows for group in ours.groups] == [group.rows for group in theirs.groups]
    compared = 0
    for one, two in zip(ours.groups, theirs.groups, strict=True):
        assert one.features.keys() == two.features.keys()
        for key, value in two.features.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(one.features[key], value), key
                compared += 1
    assert compared

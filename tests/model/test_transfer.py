"""Page-locking a batch keeps its types and numbers; CUDA itself is not there to be tried."""

import numpy as np
import torch

from model.content import Content, image
from model.losses.pairing import Pairing
from model.sentence_transformer.batch import Group, GroupedBatch
from model.training.batch import Pooled, StepBatch
from model.training.config import TaskConfig
from model.transfer import on_device, pinned
from tests.conftest import make_png


def test_every_array_of_a_batch_is_pinned_and_nothing_else_changes(tiny_encoder) -> None:
    query = tiny_encoder.preprocess([Content.of("a"), Content.of(image(make_png(1)))])
    grouped = GroupedBatch((Group((0, 1), {"input_ids": torch.arange(4), "grids": [torch.ones(2)], "n": 3}),), 2)
    seen: list[int] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        copy = tensor.clone()
        seen.append(copy.data_ptr())
        return copy

    for document in (grouped, Pooled(np.ones((2, 3), np.float32))):
        batch = StepBatch(TaskConfig(name="t"), 3, query, document, Pairing.in_order(2), ids=("x", "y"))
        found = pinned(batch, pin)
        assert type(found.document) is type(document)
        assert (found.task, found.step, found.ids) == (batch.task, 3, ("x", "y"))
        for name in ("token_ids_NL", "mask_NL"):
            copied = getattr(found.query, name)
            assert copied.ctypes.data in seen, "the array lies where the pinned tensor does"
            assert (copied == getattr(query, name)).all()
        [call] = found.query.media["image"].calls
        assert call.inputs.ctypes.data in seen
        assert (call.inputs == query.media["image"].calls[0].inputs).all()
        assert found.pairing.owner_M.data_ptr() in seen
    [group] = pinned(grouped, pin).groups
    assert (group.rows, group.features["n"]) == ((0, 1), 3)
    assert group.features["grids"][0].data_ptr() in seen


def test_arrays_that_may_not_be_written_and_empty_ones_are_taken() -> None:
    fixed = np.arange(3)
    fixed.setflags(write=False)
    assert (pinned(fixed, torch.clone) == fixed).all()
    assert pinned(np.zeros((0, 2)), torch.clone).shape == (0, 2)


def test_a_picture_of_bytes_is_converted_on_the_device() -> None:
    moved = on_device(np.array([0, 255], dtype=np.uint8), torch.device("cpu"), torch.float32)
    assert moved.dtype == torch.float32
    assert moved.tolist() == [0.0, 255.0]

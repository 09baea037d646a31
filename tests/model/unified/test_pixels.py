"""Pixels stay bytes until the tower has them, and the vectors are those of pixels that were floats all the way."""

import dataclasses

import numpy as np
import pytest
import torch

from model.content import Content, Modality, Part
from model.precision import to_bfloat16
from model.unified.batch import UnifiedBatch
from model.unified.cells import torch_cells
from tests.conftest import make_mp4, make_ogg, make_pdf, make_png

PICTURES = {
    Modality.IMAGE: make_png(1),
    Modality.VIDEO: make_mp4(2, size=32),
    Modality.DOCUMENT: make_pdf("a page"),
    Modality.AUDIO: make_ogg(1),
}


def in_floats(batch: UnifiedBatch) -> UnifiedBatch:
    """The same batch, its pixels as numbers of 32 bits."""
    media = {
        name: dataclasses.replace(
            tokens,
            calls=tuple(dataclasses.replace(c, inputs=c.inputs.astype(np.float32)) for c in tokens.calls),
        )
        for name, tokens in batch.media.items()
    }
    return dataclasses.replace(batch, media=media)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_vectors_do_not_depend_on_when_pixels_become_numbers(tiny_encoder, precision: str) -> None:
    encoder = to_bfloat16(tiny_encoder) if precision == "bfloat16" else tiny_encoder
    batch = encoder.preprocess([Content.of("a", Part(m, data=d)) for m, d in PICTURES.items()])
    kinds = {name: call.inputs.dtype for name, tokens in batch.media.items() for call in tokens.calls}
    assert kinds == {"image": np.uint8, "video": np.uint8, "audio": np.float32}
    with torch.inference_mode():
        assert torch.equal(encoder.eval()(batch), encoder(in_floats(batch)))


def test_stored_features_do_not_either(tiny_encoder) -> None:
    [call] = tiny_encoder.preprocess([Content.of(Part(Modality.IMAGE, data=make_png(1)))]).media["image"].calls
    run = torch_cells(tiny_encoder.frontends["image"])
    assert np.array_equal(run(call.inputs), run(call.inputs.astype(np.float32)))

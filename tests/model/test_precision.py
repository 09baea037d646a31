"""bfloat16 loads keep the vectors' direction for every modality; float16 is refused."""

from pathlib import Path

import numpy as np
import pytest

from model.artifact import load_encoder
from model.content import Content, audio, image, video
from model.encoding import run_batch
from model.errors import ConfigError


@pytest.mark.slow
def test_bfloat16_keeps_direction_and_halves_the_weights(tiny_artifact: Path, png_bytes, ogg_bytes, mp4_bytes) -> None:
    import torch

    contents = [
        Content.of("a red fox"),
        Content.of("rain " * 30),
        Content.of(image(png_bytes)),
        Content.of(audio(ogg_bytes)),
        Content.of(video(mp4_bytes)),
        Content.of("the same", image(png_bytes), "in blue"),
    ]
    full, half = load_encoder(tiny_artifact), load_encoder(tiny_artifact, dtype="bfloat16")
    exact_ND, found_ND = run_batch(full, contents), run_batch(half, contents)
    assert found_ND.dtype == np.float32
    cosines = (exact_ND * found_ND).sum(1)
    assert cosines.min() > 0.999, cosines
    assert not np.array_equal(exact_ND, found_ND), "it did compute in another precision"
    np.testing.assert_allclose(np.linalg.norm(found_ND, axis=1), 1, atol=1e-5)

    def weights(encoder) -> int:
        return sum(p.nbytes for p in encoder.parameters() if p.dtype != torch.float16)

    assert weights(half) * 2 == weights(full)


@pytest.mark.parametrize(
    ("dtype", "backend", "reason"),
    [
        ("float16", "torch", "float16 is refused"),
        ("float16", "onnx", "float16 is refused"),
        ("bfloat16", "onnx", "its own precision"),
        ("int4", "torch", "give float32 or bfloat16"),
    ],
)
def test_other_precisions_are_refused(dtype: str, backend: str, reason: str) -> None:
    from model.precision import check_precision

    with pytest.raises(ConfigError, match=reason):
        check_precision(dtype, backend)

"""Where a thing is in a picture and when it is in a clip changes the vector: a bag of cells or frames would not do."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor, nn

from model.content import Content, Part, audio, document, image, video
from model.encoding import run_batch
from model.unified.frontends import PictureFrontend
from tests.conftest import make_pdf
from tests.model.media.test_audio import encode, tone


@pytest.fixture
def seeing(tiny_encoder):
    """A tiny encoder whose picture tower tells pictures apart: torch's own choice of weights damps what differs."""
    torch.manual_seed(0)
    for frontend in tiny_encoder.frontends.values():
        for conv in (m for m in frontend.modules() if isinstance(m, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight)
    return tiny_encoder


def save(pictures: list[Image.Image], kind: str) -> bytes:
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": pictures[1:], "duration": 200} if len(pictures) > 1 else {}
    pictures[0].save(buffer, kind, **more)
    return buffer.getvalue()


def scene(left: int) -> Image.Image:
    """A white disc on black at the left or elsewhere; two colours, which a GIF keeps exactly."""
    picture = Image.new("RGB", (192, 192))
    ImageDraw.Draw(picture).ellipse((left, 64, left + 60, 124), fill="white")
    return picture


def apart(encoder, first: Part, second: Part) -> float:
    one, other = run_batch(encoder, [Content.of(first), Content.of(second)])
    return float(np.abs(one - other).max())


def test_a_mirrored_picture_differs_by_its_places(seeing, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = scene(4)
    pair = image(save([picture], "PNG")), image(save([ImageOps.mirror(picture)], "PNG"))
    with_places, forward = apart(seeing, *pair), PictureFrontend.forward

    def blind(self, pixels_BCSS: Tensor) -> Tensor:
        cells_BTGC = forward(self, pixels_BCSS)
        return cells_BTGC.mean((1, 2), keepdim=True).expand_as(cells_BTGC).contiguous()

    monkeypatch.setattr(PictureFrontend, "forward", blind)
    assert with_places > 1e-3
    assert with_places > 3 * apart(seeing, *pair), "what differs is not where the disc is"


def test_a_reversed_clip_differs_though_its_frames_are_the_same(seeing) -> None:
    frames = [scene(left) for left in (0, 40, 80, 130)]
    clips = [video(save(order, "GIF")) for order in (frames, frames[::-1])]
    forward, backward = (seeing.preprocess([Content.of(c)]).media["video"].calls[0].inputs for c in clips)
    np.testing.assert_array_equal(forward, backward[::-1])
    assert apart(seeing, *clips) > 1e-3
    assert apart(seeing, clips[0], clips[0]) == 0


def test_pages_and_windows_of_sound_have_an_order(seeing) -> None:
    pages = [make_pdf("first", "second page"), make_pdf("second page", "first")]
    assert apart(seeing, *map(document, pages)) > 1e-4
    low, high = tone(6.0, 16_000, 300), tone(6.0, 16_000, 2500)
    waves = [np.concatenate([low, high]), np.concatenate([high, low])]
    sounds = [audio(encode(wave, 16_000)) for wave in waves]
    heard, other = (seeing.preprocess([Content.of(s)]).media["audio"].calls[0].inputs for s in sounds)
    assert len(heard) == 2, "two windows"
    np.testing.assert_allclose(heard, other[::-1], atol=1e-5)
    assert apart(seeing, *sounds) > 1e-4

"""Checks on the real weights, where they have been fetched before; nothing is downloaded here."""

import os
from pathlib import Path

import pytest
import torch

from model.weights.load import load_image_tower, load_speech_tower, load_text_trunk, load_tokenizer
from model.weights.sources import PACKAGES
from model.weights.store import is_complete, verify

HOME = Path(os.environ.get("OMNIVEC_HOME", Path(__file__).parents[3] / ".omnivec"))
PATHS = {part: HOME / "weights" / package.label for part, package in PACKAGES.items()}

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(
        not all(is_complete(path) for path in PATHS.values()),
        reason=f"no converted weights in {HOME}; `make run` fetches them",
    ),
]


def test_files_are_as_converted() -> None:
    for path in PATHS.values():
        verify(path)
        assert (path / "NOTICE").read_text(encoding="utf-8")


def test_the_tokenizer_gives_the_ids_of_xlm_r() -> None:
    ids = load_tokenizer(PATHS["text"]).encode("query: how much protein per day").ids
    assert ids == [0, 41, 1294, 12, 3642, 5045, 21308, 117, 5155, 2]


def test_translations_find_each_other() -> None:
    tokenizer, trunk = load_tokenizer(PATHS["text"]), load_text_trunk(PATHS["text"])
    english = ["The cat sleeps on the sofa.", "How do I bake bread?", "The train to Berlin is late.", "Save the file."]
    foreign = [
        "Le chat dort sur le canapé.",
        "Wie backe ich Brot?",
        "ベルリン行きの電車は遅れています。",
        "Guarde el archivo.",
    ]

    def embed(sentence: str) -> torch.Tensor:
        ids = torch.tensor([tokenizer.encode(f"query: {sentence}").ids])
        return trunk(input_ids=ids).last_hidden_state.mean(dim=1)[0]

    with torch.inference_mode():
        left, right = (torch.nn.functional.normalize(torch.stack([*map(embed, s)])) for s in (english, foreign))
    assert (left @ right.T).argmax(dim=1).tolist() == [0, 1, 2, 3]


def test_the_towers_have_the_published_shapes() -> None:
    image, speech = load_image_tower(PATHS["image"]), load_speech_tower(PATHS["audio"])
    with torch.inference_mode():
        assert image(torch.zeros(1, 3, 96, 96)).shape == (1, 1280, 3, 3)
        assert speech(torch.zeros(1, 80, 100)).shape == (1, 50, 384)
        plain = load_image_tower(PATHS["image"], fold=False)
        pixels = torch.randint(0, 256, (1, 3, 96, 96), generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(image(pixels), plain(pixels), atol=1e-4, rtol=1e-4)

"""Artifacts of tiny random models, one for each test session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.content import Content, Modality, audio, image, video
from model.encoder import takes
from tests.conftest import make_mp4, make_ogg, make_png
from tests.model.sentence_transformer.tiny import make

SETTINGS: dict[str, dict[str, Any]] = {
    "text": {"dimensions": [32, 16], "prompts": {"query": "q: ", "document": "d: "}},
    "siglip": {},
    "gemma2": {"video": "frames", "video_side": 48, "max_frames": 3, "dimensions": [48, 24]},
    "qwen3_vl": {"video": "frames", "video_side": 48, "max_frames": 3},
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directory of a model as its library saved it."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = make(name, tmp_path_factory.mktemp(name))
        return made[name]

    return get


@pytest.fixture(scope="session")
def artifact(checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Omnivec artifact of a model."""
    from model.sentence_transformer.build import build_sentence_transformer

    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("artifact") / name
            encoder = build_sentence_transformer(str(checkpoint(name)), SETTINGS[name], home=made[name].parent)
            encoder.save(made[name])
        return made[name]

    return get


def contents_for(encoder: Any) -> list[Content]:
    """Contents of every make that the encoder takes, neighbours of other lengths and shapes among them."""
    every = [
        Content.of("hello"),
        Content.of("a longer text than the other one", task="query" if "query" in encoder.config.prompts else None),
        Content.of(image(make_png(1))),
        Content.of(image(make_png(2, 30, 60))),
        Content.of(audio(make_ogg(1, 0.8))),
        Content.of(audio(make_ogg(2, 0.5))),
        Content.of(video(make_mp4(1, frames=5, size=32))),
        Content.of("what", image(make_png(3)), "is this"),
        Content.of(image(make_png(3)), "what is this", image(make_png(4))),
        Content.of(video(make_mp4(2, frames=5, size=32)), "turned", image(make_png(4))),
    ]
    return [c for c in every if takes(encoder, [p.modality for p in c.parts])]


EXPECTED = {
    "text": {Modality.TEXT},
    "siglip": {Modality.TEXT, Modality.IMAGE},
    "gemma2": {Modality.TEXT, Modality.IMAGE, Modality.AUDIO, Modality.VIDEO},
    "qwen3_vl": {Modality.TEXT, Modality.IMAGE, Modality.VIDEO},
}

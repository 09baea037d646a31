"""The three verbs over a real tiny encoder: a vector never depends on its neighbours."""

import json
from pathlib import Path

import numpy as np
import pytest

from model.content import Content, Modality, audio, image, video
from model.encoding import encode_contents
from model.errors import ArtifactError, CapabilityError, ConfigError, ContentError
from model.unified.merge import merge_batches
from serving.dummy import DummyEncoder
from serving.engine import Engine, default_dimension, load_engine, vector_space_id
from serving.samples import sample_contents


@pytest.fixture
def contents(png_bytes: bytes, ogg_bytes: bytes, mp4_bytes: bytes) -> list[Content]:
    return [
        Content.of("short"),
        Content.of(image(png_bytes)),
        Content.of("a much longer text that needs more tokens", task="query"),
        Content.of(audio(ogg_bytes)),
        Content.of("look:", image(png_bytes), "and hear:", audio(ogg_bytes), video(mp4_bytes)),
        Content.of(video(mp4_bytes)),
        Content.of(image(png_bytes), "in blue"),
    ]


def test_merged_batches_equal_batches_prepared_together(tiny_encoder: object, contents: list[Content]) -> None:
    together = tiny_encoder.preprocess(contents)  # type: ignore[attr-defined]
    merged = merge_batches([tiny_encoder.preprocess([content]) for content in contents])  # type: ignore[attr-defined]
    assert np.array_equal(merged.token_ids_NL, together.token_ids_NL)
    assert np.array_equal(merged.mask_NL, together.mask_NL)
    assert merged.media.keys() == together.media.keys() == {"image", "audio", "video"}
    for name, one in merged.media.items():
        other = together.media[name]
        for field in ("position_K", "row_K", "column_K"):
            assert np.array_equal(getattr(one, field), getattr(other, field)), (name, field)
        assert len(one.calls) == len(other.calls)
        for a, b in zip(one.calls, other.calls, strict=True):
            assert np.array_equal(a.inputs, b.inputs)
            assert np.array_equal(a.tokens_BT, b.tokens_BT)


def test_alone_and_among_strangers_equal_the_offline_vectors(tiny_artifact: Path, contents: list[Content]) -> None:
    engine = load_engine(tiny_artifact, backend="torch", modalities=None)
    offline_ND = encode_contents(engine.encoder, contents, desc="")
    prepared = [engine.prepare(content) for content in contents]
    alone_ND = np.concatenate([engine.compute([item]) for item in prepared])
    mixed_ND = engine.compute(prepared[::-1])[::-1]
    for served_ND in (alone_ND, mixed_ND):
        assert (served_ND * offline_ND).sum(1).min() > 0.99999
    neighbours = offline_ND @ offline_ND.T - np.eye(len(contents))
    assert neighbours.max() < 0.9999, "vacuous: the contents are not told apart"


def test_prepared_items_know_their_tokens(tiny_artifact: Path, contents: list[Content]) -> None:
    engine = load_engine(tiny_artifact, backend="torch", modalities=None)
    for content in contents:
        item = engine.prepare(content)
        assert item.length == int(item.batch.mask_NL.sum())


def test_warm_up_covers_every_modality_and_their_mixture() -> None:
    samples = sample_contents(frozenset(Modality))
    assert [content.kind for content in samples] == ["text", "image", "audio", "video", "document", "interleaved"]


def test_a_model_that_fails_its_warm_up_never_becomes_ready() -> None:
    class Broken(DummyEncoder):
        def __call__(self, batch: object) -> object:
            raise RuntimeError("no kernel")

    with pytest.raises(ArtifactError, match="failed its warm-up: no kernel"):
        Engine(Broken(), vector_space="x").warm_up(sample_contents(frozenset({Modality.TEXT})))


def test_bad_media_fail_in_prepare(tiny_artifact: Path, png_bytes: bytes) -> None:
    engine = load_engine(tiny_artifact, backend="torch", modalities=None)
    with pytest.raises(ContentError):
        engine.prepare(Content.of(image(png_bytes[:40])))


def test_a_tower_that_is_not_loaded_is_refused(tiny_artifact: Path, png_bytes: bytes) -> None:
    engine = load_engine(tiny_artifact, backend="torch", modalities=frozenset({Modality.TEXT}))
    with pytest.raises(CapabilityError, match="embeds text, not image"):
        engine.prepare(Content.of(image(png_bytes)))


def test_dimensions_outside_the_trained_range_are_refused() -> None:
    engine = Engine(DummyEncoder(), vector_space="x")
    assert default_dimension(engine, None) == 8
    assert default_dimension(engine, 4) == 4
    with pytest.raises(ConfigError, match=r"dimensions=9 is outside 2..8"):
        default_dimension(engine, 9)


def test_a_missing_artifact_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="make run"):
        load_engine(tmp_path, backend="torch", modalities=None)


def test_the_vector_space_follows_weights_and_not_their_packaging(tmp_path: Path) -> None:
    def space(**digests: str) -> str:
        (tmp_path / "digests.json").write_text(json.dumps(digests))
        return vector_space_id(tmp_path)

    base = space(**{"trunk.safetensors": "a"})
    assert space(**{"trunk.safetensors": "a", "onnx/trunk.onnx": "b", "README.md": "c"}) == base
    assert space(**{"trunk.safetensors": "b"}) != base
    (tmp_path / "digests.json").write_text("[]")
    with pytest.raises(ArtifactError, match="does not identify the model"):
        vector_space_id(tmp_path)

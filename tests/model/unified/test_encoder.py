"""The unified encoder: one vector per content, invariant to neighbours, sensitive to order, place and time."""

import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import nn

from model.artifact import load_encoder
from model.content import Content, Modality, audio, image, video
from model.encoding import encode_contents, plan_batches
from model.errors import ArtifactError, CapabilityError, ConfigError, ContentError
from model.features import FeatureStore, build_features, digest_of_towers
from model.unified import cells
from tests.conftest import make_mp4, make_ogg, make_png

PARTS = ["a cat", "ein Hund läuft", image(make_png(1)), image(make_png(2)), audio(make_ogg(1)), video(make_mp4(1))]


def embed(encoder, *contents: Content) -> np.ndarray:
    return encode_contents(encoder, contents, desc="")


def test_every_kind_gives_a_unit_vector(tiny_encoder) -> None:
    vectors = embed(tiny_encoder, *(Content.of(p) for p in PARTS), Content.of(*PARTS))
    assert vectors.shape == (len(PARTS) + 1, tiny_encoder.dimensions[0])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(range(len(PARTS))), min_size=1, max_size=3), min_size=2, max_size=5))
def test_neighbours_do_not_matter(tiny_encoder, mixture: list[list[int]]) -> None:
    contents = [Content.of(*(PARTS[i] for i in indices)) for indices in mixture]
    together = tiny_encoder(tiny_encoder.preprocess(contents)).detach().numpy()
    alone = np.concatenate([embed(tiny_encoder, c) for c in contents])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_order_of_parts_matters(tiny_encoder) -> None:
    forward, backward = embed(tiny_encoder, Content.of(PARTS[0], PARTS[2]), Content.of(PARTS[2], PARTS[0]))
    assert np.abs(forward - backward).max() > 1e-4


def test_mirrored_picture_differs(tiny_encoder) -> None:
    buffer = io.BytesIO()
    ImageOps.mirror(Image.open(io.BytesIO(make_png(3)))).save(buffer, "PNG")
    left, right = embed(tiny_encoder, Content.of(image(make_png(3))), Content.of(image(buffer.getvalue())))
    assert np.abs(left - right).max() > 1e-4


def test_reversed_frames_differ(tiny_encoder) -> None:
    """Frames with clearly different features (the random tower hardly tells pictures apart), forwards and backwards."""
    batch = tiny_encoder.preprocess([Content.of(video(make_mp4(1)))])
    clip = batch.media["video"]
    cells = tiny_encoder.frontends["video"](torch.from_numpy(clip.calls[0].inputs)).flatten(0, 1)
    features = np.random.default_rng(0).standard_normal(cells.shape).astype(np.float32)
    forward, backward = (
        tiny_encoder(replace(batch, media={"video": replace(clip, features_KGC=f, calls=())})).detach().numpy()
        for f in (features, features[::-1].copy())
    )
    assert np.abs(forward - backward).max() > 1e-3


def test_saved_equals_loaded(tiny_encoder, tmp_path: Path) -> None:
    tiny_encoder.save(tmp_path / "again")
    modes = {path.stat().st_mode for path in (tmp_path / "again").iterdir()}
    assert len(modes) == 1, "a service of another user must read the weights where it reads the config"
    contents = [Content.of(*PARTS)]
    np.testing.assert_array_equal(embed(tiny_encoder, *contents), embed(load_encoder(tmp_path / "again"), *contents))


def test_text_only_load_has_no_towers_and_equal_vectors(tiny_encoder, tiny_artifact: Path) -> None:
    small = load_encoder(tiny_artifact, modalities=frozenset({Modality.TEXT}))
    assert not list(small.frontends)  # type: ignore[attr-defined]
    assert not list(small.projectors)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(embed(small, Content.of("hello")), embed(tiny_encoder, Content.of("hello")))
    with pytest.raises(CapabilityError, match="a part is image"):
        small.preprocess([Content.of(PARTS[2])])


def test_missing_weights_name_the_file(tiny_encoder, tmp_path: Path) -> None:
    tiny_encoder.save(tmp_path / "broken")
    (tmp_path / "broken" / "trunk.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"trunk\.safetensors"):
        load_encoder(tmp_path / "broken")


def test_missing_artifact_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"config\.json"):
        load_encoder(tmp_path)


def test_features_equal_live_towers(tiny_encoder, tmp_path: Path) -> None:
    contents = [Content.of(*PARTS), *(Content.of(p) for p in PARTS)]
    live = embed(tiny_encoder, *contents)
    media = [p for p in PARTS if not isinstance(p, str)]
    assert build_features(tiny_encoder, media, tmp_path / "store", batch_units=2) == len(media)
    tiny_encoder.use_features(FeatureStore.open(tmp_path / "store"))
    batch = tiny_encoder.preprocess(contents)
    assert not any(m.calls for m in batch.media.values()), "the towers ran although every feature is stored"
    assert (embed(tiny_encoder, *contents) * live).sum(1).min() > 0.99999  # half precision in the store


def test_features_by_graph_equal_those_by_torch(tiny_artifact: Path, tmp_path: Path, monkeypatch) -> None:
    encoder = load_encoder(tiny_artifact)
    for conv in (m for m in encoder.frontends["image"].modules() if isinstance(m, nn.Conv2d)):  # type: ignore[attr-defined]
        nn.init.kaiming_normal_(conv.weight)  # torch's own choice damps what differs between pictures layer by layer
    pictures = [image(make_png(i)) for i in range(5)]
    built, graphs, onnx_cells = [], [], cells.onnx_cells
    monkeypatch.setattr(cells, "onnx_cells", lambda *args: graphs.append(args) or onnx_cells(*args))
    for least in (len(pictures), len(pictures) + 1):
        monkeypatch.setattr(cells, "INPUTS_WORTH_A_GRAPH", least)
        build_features(encoder, pictures, tmp_path / str(least), batch_units=2)  # type: ignore[arg-type]
        store = FeatureStore.open(tmp_path / str(least))
        built.append(np.stack([features[0] for p in pictures for _, features in store.items(p)]))
    graph, plain = built
    assert len(graphs) == 1, "one of the two runs by a graph, the other by torch"
    np.testing.assert_allclose(graph, plain, rtol=2e-3, atol=2e-3 * np.abs(plain).max())  # half precision
    assert np.abs(plain[0] - plain[1]).max() > 0.02 * np.abs(plain).max(), "the pictures look alike to the tower"


@pytest.mark.parametrize(
    "change",
    [
        {"image_tower": {"stem_channels": 64}},
        {"audio_tower": {"heads": 1}},
        {"video": {"frames_per_second": 2.0}},
        {"image": {"size": 224}},
    ],
    ids=str,
)
def test_every_setting_that_shapes_features_is_in_their_digest(tiny_encoder, change: dict) -> None:
    changed = SimpleNamespace(frontends=tiny_encoder.frontends, config=_with(tiny_encoder.config, change))
    assert changed.config != tiny_encoder.config
    assert digest_of_towers(changed) != tiny_encoder.tower_digest()  # type: ignore[arg-type]


def _with(config, change: dict):
    parts = {name: getattr(config, name).model_copy(update=values) for name, values in change.items()}
    return config.model_copy(update=parts)


def test_features_of_other_towers_are_refused(tiny_encoder, tmp_path: Path) -> None:
    build_features(tiny_encoder, [PARTS[2]], tmp_path / "store")
    with torch.no_grad():
        next(tiny_encoder.frontends["audio"].parameters()).add_(1)
    with pytest.raises(ArtifactError, match="features step again"):
        tiny_encoder.use_features(FeatureStore.open(tmp_path / "store"))


def test_tokens_are_counted_exactly(tiny_encoder) -> None:
    content = Content.of(*PARTS)
    assert sum(tiny_encoder.count_tokens(content).values()) == tiny_encoder.preprocess([content]).mask_NL.sum()


def test_prompt_is_a_prefix_of_text(tiny_encoder) -> None:
    with_task, spelled = embed(tiny_encoder, Content.of("cats", task="query"), Content.of("query: cats"))
    np.testing.assert_array_equal(with_task, spelled)
    with pytest.raises(ContentError, match="this model knows"):
        tiny_encoder.preprocess([Content.of("cats", task="unheard of")])


def test_too_many_tokens_and_parts_are_refused(tiny_encoder) -> None:
    with pytest.raises(ContentError) as tokens:
        tiny_encoder.preprocess([Content.of(*["word " * 100] * 5)])
    assert tokens.value.code == "too_many_tokens"
    with pytest.raises(ContentError) as parts:
        tiny_encoder.preprocess([Content.of(*["a"] * 17)])
    assert parts.value.code == "too_many_parts"


def test_unknown_setting_is_named() -> None:
    from model.unified.config import UnifiedConfig

    with pytest.raises(ConfigError, match="colour"):
        UnifiedConfig.parse({"trunk": {}, "colour": "red"})


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(50, 600))
def test_batches_keep_the_budget_and_lose_nothing(lengths: list[int], budget: int) -> None:
    batches = list(plan_batches(lengths, budget))
    assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
    assert all(len(b) == 1 or max(lengths[i] for i in b) * len(b) <= budget for b in batches)
    flat = [lengths[i] for b in batches for i in b]
    assert all(a >= b for a, b in pairwise(flat))

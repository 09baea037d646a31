"""Every type of model: vectors equal the library's own, do not depend on neighbours, and survive a save."""

import json
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.artifact import artifact_kind, load_encoder
from model.content import Content, Modality, audio, image, video
from model.encoder import takes
from model.encoding import encode_contents, run_batch
from model.errors import ArtifactError, CapabilityError, ConfigError, ContentError
from model.sentence_transformer.build import build_sentence_transformer, fetch
from model.sentence_transformer.plain import PlainLibrary
from tests.conftest import make_mp4, make_ogg, make_png
from tests.model.sentence_transformer.conftest import EXPECTED, contents_for

Get = Callable[[str], Path]
TYPES = list(EXPECTED)
loaded = lru_cache(load_encoder)


@pytest.mark.parametrize("name", TYPES)
def test_vectors_are_the_librarys_and_free_of_their_neighbours(artifact: Get, name: str) -> None:
    encoder = load_encoder(artifact(name))
    assert encoder.modalities == EXPECTED[name]
    contents = contents_for(encoder)
    together = run_batch(encoder, contents)
    alone = np.concatenate([run_batch(encoder, [c]) for c in contents])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(run_batch(encoder, contents[::-1])[::-1], alone, atol=1e-5)
    library = PlainLibrary(encoder, artifact(name))
    np.testing.assert_allclose(together, library(library.preprocess(contents)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    # Not vacuous: no two contents have the same vector.
    gaps = np.linalg.norm(together[:, None] - together[None], axis=-1) + np.eye(len(contents))
    assert gaps.min() > 1e-3


@pytest.mark.parametrize("name", TYPES)
@settings(max_examples=6, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(range(6)), min_size=1, max_size=3), min_size=2, max_size=5))
def test_random_mixtures_are_free_of_their_neighbours(artifact: Get, name: str, mixture: list[list[int]]) -> None:
    encoder = loaded(artifact(name))
    pool = ["a cat", "a longer text than the other one, by far", image(make_png(1)), image(make_png(2, 30, 60))]
    pool += [audio(make_ogg(1, 0.6)), video(make_mp4(1, frames=3, size=32))]
    contents = [Content.of(*(pool[i] for i in indices)) for indices in mixture]
    contents = [c for c in contents if takes(encoder, [p.modality for p in c.parts])] or [Content.of("a cat")]
    together = run_batch(encoder, contents)
    alone = np.concatenate([run_batch(encoder, [c]) for c in contents])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("name", TYPES)
def test_the_library_gives_texts_as_plain_strings_the_same_vectors(artifact: Get, name: str) -> None:
    encoder = load_encoder(artifact(name))
    library = PlainLibrary(encoder, artifact(name)).model
    texts = ["a cat", "quite another thing"]
    ours = run_batch(encoder, [Content.of(t) for t in texts])
    np.testing.assert_allclose(ours, library.encode(texts, normalize_embeddings=True, prompt=""), atol=1e-5)


@pytest.mark.parametrize("name", TYPES)
def test_tokens_are_counted_exactly_before_and_after(artifact: Get, name: str) -> None:
    encoder = load_encoder(artifact(name))
    for content in contents_for(encoder):
        counted = encoder.count_tokens(content)
        group = encoder.preprocess([content]).groups[0].features
        if "attention_mask" in group:
            assert sum(counted.values()) == int(group["attention_mask"].sum())
        assert content.modalities <= {m for m, n in counted.items() if n > 0}


def test_known_counts(artifact: Get) -> None:
    siglip, text = load_encoder(artifact("siglip")), load_encoder(artifact("text"))
    assert siglip.count_tokens(Content.of(image(make_png()))) == {Modality.IMAGE: 16}  # 32 pixels in patches of 8
    assert text.count_tokens(Content.of("abc")) == {Modality.TEXT: 5}  # three bytes, <s> and </s>
    assert text.count_tokens(Content.of("abc", task="query")) == {Modality.TEXT: 8}
    assert text.count_tokens(Content.of("x" * 1000)) == {Modality.TEXT: 128}  # cut at its end


def test_order_of_parts_and_of_frames_matters(artifact: Get) -> None:
    encoder = load_encoder(artifact("gemma2"))
    first, second = image(make_png(1)), image(make_png(2))
    vectors = run_batch(encoder, [Content.of(first, second, "x"), Content.of(second, first, "x")])
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4


def test_a_save_keeps_vectors_and_writes_no_pickle(artifact: Get, tmp_path: Path) -> None:
    encoder = load_encoder(artifact("gemma2"))
    encoder.save(tmp_path / "again")
    contents = contents_for(encoder)
    again = load_encoder(tmp_path / "again")
    np.testing.assert_array_equal(run_batch(again, contents), run_batch(encoder, contents))
    assert artifact_kind(tmp_path / "again") == "sentence_transformer"
    assert {p.suffix for p in (tmp_path / "again").rglob("*") if p.is_file()} <= {".json", ".safetensors", ".jinja"}


def test_towers_are_optional(artifact: Get) -> None:
    whole = load_encoder(artifact("gemma2"))
    text = load_encoder(artifact("gemma2"), modalities=frozenset({Modality.TEXT}))
    content = Content.of("the same vector")
    np.testing.assert_allclose(run_batch(text, [content]), run_batch(whole, [content]), atol=1e-6)
    assert sum(p.numel() for p in text.parameters()) < 0.7 * sum(p.numel() for p in whole.parameters())
    with pytest.raises(CapabilityError, match="not image"):
        text.preprocess([Content.of(image(make_png()))])


def test_a_text_that_looks_like_an_address_stays_a_text(artifact: Get) -> None:
    """The library would fetch it: sockets are off in tests, and a picture would cost picture tokens."""
    encoder = load_encoder(artifact("gemma2"))
    for value in ("https://example.com/cat.png", "data:image/png;base64,AAAA", "/etc/hostname.png"):
        assert encoder.count_tokens(Content.of(value)).keys() == {Modality.TEXT}
        assert encoder.count_tokens(Content.of(value, "and more")).keys() == {Modality.TEXT}
        run_batch(encoder, [Content.of(value)])


def test_what_a_model_cannot_take_is_refused_with_a_reason(artifact: Get) -> None:
    siglip, gemma = load_encoder(artifact("siglip")), load_encoder(artifact("gemma2"))
    with pytest.raises(CapabilityError, match="embeds image, text, not audio"):
        siglip.preprocess([Content.of(audio(make_ogg()))])
    with pytest.raises(CapabilityError, match="one part at a time"):
        siglip.preprocess([Content.of("a", image(make_png()))])
    with pytest.raises(ContentError, match="marks media") as refused:
        gemma.preprocess([Content.of("an <img> in words")])
    assert refused.value.code == "control_token"
    with pytest.raises(ContentError) as refused:
        gemma.preprocess([Content.of(image(make_png()[:60]))])
    assert refused.value.code == "image_truncated"
    with pytest.raises(ContentError, match="unknown task"):
        gemma.preprocess([Content.of("a", task="nonsense")])


def test_limits_hold(checkpoint: Get, tmp_path: Path) -> None:
    limits = {"max_tokens": 90, "max_parts": 2, "max_image_pixels": 5000}
    encoder = build_sentence_transformer(str(checkpoint("gemma2")), {"limits": limits}, home=tmp_path)
    encoder.preprocess([Content.of(image(make_png()))])
    for content, code in (
        (Content.of(image(make_png()), "x" * 60), "too_many_tokens"),
        (Content.of("a", "b", "c"), "too_many_parts"),
        (Content.of(image(make_png(0, 100, 100))), "image_too_large"),
    ):
        with pytest.raises(ContentError) as refused:
            encoder.preprocess([content])
        assert refused.value.code == code


def test_half_precision_is_refused_where_it_corrupts(checkpoint: Get, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="float16 overflows in embedding_gemma2"):
        build_sentence_transformer(str(checkpoint("gemma2")), {"dtype": "float16"}, home=tmp_path)
    exact = build_sentence_transformer(str(checkpoint("gemma2")), {}, home=tmp_path)
    short = build_sentence_transformer(str(checkpoint("gemma2")), {"dtype": "bfloat16"}, home=tmp_path)
    assert next(short.parameters()).dtype == torch.bfloat16
    short.save(tmp_path / "short")
    contents = [Content.of("a cat"), Content.of("dogs and others")]
    cosines = (run_batch(load_encoder(tmp_path / "short"), contents) * run_batch(exact, contents)).sum(1)
    assert cosines.min() > 0.99


def test_unsafe_or_unusable_sources_are_refused(checkpoint: Get, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(checkpoint("text"), pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match="pickled"):
        build_sentence_transformer(str(pickled), {}, home=tmp_path)
    foreign = tmp_path / "foreign"
    shutil.copytree(checkpoint("text"), foreign)
    (foreign / "evil.py").write_text("raise SystemExit('executed')")
    modules = [{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]
    (foreign / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ArtifactError, match="trust_remote_code"):
        build_sentence_transformer(str(foreign), {}, home=tmp_path)
    with pytest.raises(ArtifactError, match="checkpoint is empty"):
        fetch("", tmp_path)
    with pytest.raises(ConfigError, match="must come first"):
        build_sentence_transformer(str(checkpoint("text")), {"dimensions": [64, 16]}, home=tmp_path)


def test_offline_encoding_runs_several_threads_through_one_tokenizer(artifact: Get) -> None:
    encoder = load_encoder(artifact("gemma2"))
    contents = [Content.of("word " * (1 + i % 7) + str(i)) for i in range(60)]
    expected = np.concatenate([run_batch(encoder, [c]) for c in contents])
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = encode_contents(encoder, contents, max_batch_tokens=100, desc="")
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(found, expected, atol=1e-5)

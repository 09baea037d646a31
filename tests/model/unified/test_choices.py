"""Whole encoders of other trunks and towers: saved and loaded, among neighbours, in training, from directories."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from model.artifact import load_encoder
from model.content import Content, audio, image, video
from model.errors import ConfigError
from model.unified.build import build_encoder
from model.unified.config import UnifiedConfig
from model.unified.encoder import UnifiedEncoder
from model.weights.hub import hub_weights
from model.weights.random import TINY_AUDIO
from model.weights.tokenizer import byte_tokenizer
from tests.conftest import make_mp4, make_ogg, make_png
from tests.model.towers.tiny import TINY_SPECTROGRAM, TINY_VISION, TINY_WAVEFORM
from tests.model.trunks import TINY_TRUNKS, shake

CHOICES = {
    "xlm-roberta, SigLIP, Wav2Vec2": ("xlm-roberta", TINY_VISION["siglip"], TINY_WAVEFORM["wav2vec2"]),
    "ModernBERT, DINOv3, HuBERT": ("modernbert", TINY_VISION["dinov3"], TINY_WAVEFORM["hubert"]),
    "Gemma 3, ConvNeXt, AST": ("gemma3_text", TINY_VISION["convnext"], TINY_SPECTROGRAM),
    "MPNet, SigLIP 2, Whisper": ("mpnet", TINY_VISION["siglip2"], TINY_AUDIO),
}
CONTENTS = [
    Content.of("a cat", image(make_png(1)), audio(make_ogg(1, seconds=0.7))),
    Content.of(video(make_mp4(1, frames=3))),
    Content.of("a longer text that comes alone"),
    Content.of(audio(make_ogg(2, seconds=1.4))),
    Content.of(image(make_png(2))),
]
SIZES = {"image": {"size": 64, "cells": 2}, "video": {"size": 64, "cells": 2, "max_frames": 4}}
SIZES |= {"audio": {"window_seconds": 2}}


def encoder_of(choice: str) -> UnifiedEncoder:
    trunk, picture, sound = CHOICES[choice]
    config = UnifiedConfig.model_validate(
        {"trunk": TINY_TRUNKS[trunk], "image_tower": picture, "audio_tower": sound, "dimensions": (32, 16), **SIZES}
    )
    torch.manual_seed(0)
    return UnifiedEncoder(config, byte_tokenizer().to_str()).eval()


@torch.inference_mode()
def vectors(encoder: UnifiedEncoder, contents: list[Content]) -> np.ndarray:
    found: np.ndarray = encoder(encoder.preprocess(contents)).numpy()
    return found


@pytest.mark.parametrize("choice", CHOICES)
def test_saved_equals_loaded_and_neighbours_do_not_matter(choice: str, tmp_path: Path) -> None:
    encoder = encoder_of(choice)
    together = vectors(encoder, CONTENTS)
    assert np.ptp(together, axis=0).max() > 1e-3
    encoder.save(tmp_path / "artifact")
    loaded = load_encoder(tmp_path / "artifact")
    np.testing.assert_array_equal(vectors(loaded, CONTENTS), together)
    alone = np.concatenate([vectors(encoder, [content]) for content in CONTENTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("choice", CHOICES)
def test_projectors_learn_and_towers_stay(choice: str) -> None:
    encoder = encoder_of(choice).train()
    batch = encoder.preprocess(CONTENTS)
    target = torch.nn.functional.normalize(torch.randn(len(CONTENTS), 32), dim=-1)
    frozen = {name: t.clone() for name, t in encoder.frontends.state_dict().items()}
    optimizer = torch.optim.Adam(encoder.projectors.parameters(), lr=1e-2)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = (encoder(batch) - target).square().sum()
        loss.backward()
        gradients = {name: p.grad for name, p in encoder.projectors.named_parameters()}
        assert all(g is not None and g.isfinite().all() for g in gradients.values())
        assert all(gradients[f"{kind}.reduce.weight"].abs().sum() > 0 for kind in ("image", "video", "audio"))
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    assert all(torch.equal(frozen[name], tensor) for name, tensor in encoder.frontends.state_dict().items())


def test_other_sounds_give_other_vectors() -> None:
    encoder = encoder_of("xlm-roberta, SigLIP, Wav2Vec2")
    shake(encoder.frontends)
    low, high = vectors(encoder, [Content.of(audio(make_ogg(seed, seconds=1))) for seed in (1, 5)])
    assert np.abs(low - high).max() > 1e-3


def hub_directory(directory: Path, document: dict, processor: dict) -> str:
    shake(AutoModel.from_config(AutoConfig.for_model(**document)), std=0.1).save_pretrained(directory)
    byte_tokenizer().save(str(directory / "tokenizer.json"))
    (directory / "preprocessor_config.json").write_text(json.dumps(processor))
    return str(directory)


def test_an_encoder_is_assembled_from_local_directories(tmp_path: Path) -> None:
    trunk, picture, sound = CHOICES["Gemma 3, ConvNeXt, AST"]
    paths = hub_weights(
        tmp_path / "home",
        text=hub_directory(tmp_path / "text", TINY_TRUNKS[trunk], {}),
        image=hub_directory(tmp_path / "image", picture.model, {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}),
        audio=hub_directory(tmp_path / "audio", sound.model, {}),
    )
    encoder = build_encoder(paths, SIZES, source="hub")
    assert encoder.dimensions == (32,)
    assert encoder.table.scale == pytest.approx(32**0.5)
    words = encoder.table(torch.arange(260))
    for projector in encoder.projectors.values():
        assert float(projector.out_norm.weight[0]) == pytest.approx(float(words.std()), rel=0.01)
    encoder.save(tmp_path / "artifact")
    loaded = load_encoder(tmp_path / "artifact")
    np.testing.assert_array_equal(vectors(loaded, CONTENTS), vectors(encoder, CONTENTS))

    without = build_encoder(paths, {**SIZES, "image_tower": None}, source="hub")
    assert "image" not in without.frontends
    with pytest.raises(ConfigError, match="come with the weights"):
        build_encoder(paths, {"trunk": TINY_TRUNKS["bert"]}, source="hub")
    with pytest.raises(ConfigError, match=r"lower audio\.window_seconds"):
        build_encoder(paths, {**SIZES, "audio": {"window_seconds": 5}}, source="hub")
    causal = {**TINY_TRUNKS[trunk], "use_bidirectional_attention": False, "sliding_window": 64}
    text = hub_directory(tmp_path / "causal", causal, {})
    paths = hub_weights(tmp_path / "home", text=text, image=str(tmp_path / "image"), audio=str(tmp_path / "audio"))
    with pytest.raises(ConfigError, match="bidirectional"):
        build_encoder(paths, SIZES, source="hub")


def test_tokens_that_do_not_divide_into_outputs_of_the_tower_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"audio\.cells=5"):
        UnifiedConfig.parse(
            {"trunk": {}, "audio_tower": TINY_SPECTROGRAM.model_dump(), "audio": {"token_seconds": 0.4}}
        )


@pytest.mark.minutes
@pytest.mark.parametrize("choice", ["xlm-roberta, SigLIP, Wav2Vec2", "Gemma 3, ConvNeXt, AST"])
def test_onnx_equals_torch(choice: str, tmp_path: Path) -> None:
    from model.unified.onnx_export import export_onnx
    from model.unified.onnx_runtime import OnnxUnifiedEncoder

    encoder = encoder_of(choice)
    encoder.save(tmp_path)
    export_onnx(encoder, tmp_path / "onnx")
    exported = OnnxUnifiedEncoder.load(tmp_path, threads=1)
    contents = [*CONTENTS, Content.of("one more than at export")]
    found = exported(exported.preprocess(contents))
    assert (found * vectors(encoder, contents)).sum(1).min() > 0.9999

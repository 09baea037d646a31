"""Models as transformers saves them, read from a local directory: every kind gives the outputs of transformers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, CLIPConfig, CLIPModel, SiglipConfig, SiglipModel, Wav2Vec2ForCTC

from model.errors import ArtifactError
from model.weights import hub
from model.weights.hub import hub_weights
from model.weights.load import load_image_tower, load_speech_tower, load_text_trunk, load_tokenizer
from model.weights.random import random_weights
from model.weights.store import WeightPaths, load_config
from model.weights.tokenizer import byte_tokenizer
from tests.model.towers.tiny import TINY_SPECTROGRAM, TINY_VISION, TINY_WAVEFORM, VIT, WIDTH
from tests.model.trunks import TINY_TRUNKS, shake

WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "max_source_positions": 100,
    "vocab_size": 60,
    "pad_token_id": 0,
}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightPaths:
    """Tiny weights; the image part, which comes from the package, is replaced by the tiny one."""
    paths = random_weights(tmp_path / "tiny")
    monkeypatch.setattr(hub, "prepare_part", lambda _part, _home: paths.image)
    return paths


def saved(directory: Path, model: torch.nn.Module, processor: dict | None = None) -> Path:
    """The directory of a model with what its repository on a hub would hold."""
    model.save_pretrained(directory)  # type: ignore[operator]
    byte_tokenizer().save(str(directory / "tokenizer.json"))
    if processor is not None:
        (directory / "preprocessor_config.json").write_text(json.dumps(processor))
    return directory


def text_model(name: str = "bert") -> torch.nn.Module:
    return shake(AutoModel.from_config(AutoConfig.for_model(**TINY_TRUNKS[name])))


def whisper_model() -> torch.nn.Module:
    return shake(AutoModel.from_config(AutoConfig.for_model("whisper", **WHISPER)))


def convert(tmp_path: Path, **sources: Path) -> WeightPaths:
    """Convert ``sources``; parts that are not given are tiny models."""
    text = sources.get("text") or saved(tmp_path / "text", text_model())
    audio = sources.get("audio") or saved(tmp_path / "audio", whisper_model(), {})
    image = str(sources["image"]) if "image" in sources else None
    return hub_weights(tmp_path / "home", text=str(text), image=image, audio=str(audio))


@pytest.mark.parametrize("name", sorted(TINY_TRUNKS))
def test_text_encoders_are_converted(tiny: WeightPaths, tmp_path: Path, name: str) -> None:
    theirs = text_model(name)
    made = convert(tmp_path, text=saved(tmp_path / "text", theirs))
    ids = torch.tensor([load_tokenizer(made.text).encode("a cat").ids])
    with torch.inference_mode():
        found = load_text_trunk(made.text)(input_ids=ids).last_hidden_state
        expected = theirs(input_ids=ids).last_hidden_state
    assert (found - expected).norm() < 0.01 * expected.norm()  # the word table is kept in half precision
    assert "architectures" not in load_config(made.text)


def test_whisper_is_converted(tiny: WeightPaths, tmp_path: Path) -> None:
    theirs = whisper_model()
    made = convert(tmp_path, audio=saved(tmp_path / "audio", theirs, {}))
    mel = torch.randn(1, 80, 200)
    with torch.inference_mode():
        expected = theirs.encoder(mel).last_hidden_state
        torch.testing.assert_close(load_speech_tower(made.audio)(mel), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["siglip", "dinov2", "clip", "convnext"])
def test_vision_encoders_are_converted_with_their_normalisation(tiny: WeightPaths, tmp_path: Path, name: str) -> None:
    theirs = shake(AutoModel.from_config(AutoConfig.for_model(**TINY_VISION[name].model)))
    processor = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "rescale_factor": 1 / 255}
    made = convert(tmp_path, image=saved(tmp_path / "image", theirs, processor))
    tower = load_image_tower(made.image)
    assert tower.config.mean == (0.4, 0.5, 0.6)
    assert tower.config.std == (0.2, 0.3, 0.4)
    pixels = torch.randint(0, 256, (1, 3, 64, 64))
    normal = (pixels / 255 - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    with torch.inference_mode():
        states = theirs(pixel_values=normal).last_hidden_state
        found = tower(pixels)
    expected = states if states.dim() == 4 else states[:, -16:].transpose(1, 2).reshape(found.shape)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("config", "model"), [(SiglipConfig, SiglipModel), (CLIPConfig, CLIPModel)])
def test_the_vision_half_of_a_pair_is_taken(tiny: WeightPaths, tmp_path: Path, config: type, model: type) -> None:
    whole = shake(model(config(text_config={**WIDTH, "vocab_size": 60}, vision_config=dict(VIT))))
    made = convert(tmp_path, image=saved(tmp_path / "image", whole, {"image_mean": 0.5, "image_std": 0.5}))
    pixels = torch.randint(0, 256, (1, 3, 64, 64))
    with torch.inference_mode():
        states = whole.vision_model(pixel_values=pixels / 127.5 - 1).last_hidden_state
        found = load_image_tower(made.image)(pixels)
    torch.testing.assert_close(found, states[:, -16:].transpose(1, 2).reshape(found.shape), atol=1e-5, rtol=1e-4)


def test_sound_encoders_are_converted(tiny: WeightPaths, tmp_path: Path) -> None:
    config = AutoConfig.for_model(**TINY_WAVEFORM["wav2vec2"].model, vocab_size=40)
    theirs = shake(Wav2Vec2ForCTC(config))
    made = convert(tmp_path, audio=saved(tmp_path / "audio", theirs, {"do_normalize": False}))
    tower = load_speech_tower(made.audio)
    assert tower.config.normalise is False
    wave = torch.randn(1, 3200)
    with torch.inference_mode():
        expected = theirs.wav2vec2(torch.nn.functional.pad(wave, (0, 80))).last_hidden_state
        torch.testing.assert_close(tower(wave), expected, atol=1e-5, rtol=1e-4)


def test_spectrogram_encoders_are_converted(tiny: WeightPaths, tmp_path: Path) -> None:
    theirs = shake(AutoModel.from_config(AutoConfig.for_model(**TINY_SPECTROGRAM.model)))
    made = convert(tmp_path, audio=saved(tmp_path / "audio", theirs, {"mean": -3.0, "std": 2.0}))
    tower = load_speech_tower(made.audio)
    assert (tower.config.mean, tower.config.std) == (-3.0, 2.0)
    mel = torch.randn(1, 128, 250)
    with torch.inference_mode():
        states = theirs(torch.nn.functional.pad(mel, (0, 6)).transpose(1, 2)).last_hidden_state[:, 2:]
    np.testing.assert_allclose(tower(mel).detach(), states.reshape(1, 12, 25, -1).mean(1), atol=1e-5)


def test_wrong_models_and_missing_files_are_refused(tiny: WeightPaths, tmp_path: Path) -> None:
    text = saved(tmp_path / "text", text_model())
    with pytest.raises(ArtifactError, match="no audio encoder"):
        hub_weights(tmp_path / "home", text=str(text), audio=str(saved(tmp_path / "bert", text_model(), {})))
    state = load_file(text / "model.safetensors")
    part = {name: tensor for name, tensor in state.items() if "layer.1.attention" not in name}
    save_file(part, text / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtifactError, match=r"lacks .* weights of a 'bert'"):
        hub_weights(tmp_path / "home", text=str(text))
    (text / "model.safetensors").rename(text / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"has no model\.safetensors"):
        hub_weights(tmp_path / "home", text=str(text))
    (text / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        hub_weights(tmp_path / "home", text=str(text))


def test_no_hub_is_explained_with_the_way_out(
    tiny: WeightPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = []

    def offline(*names: object, **options: object) -> str:
        asked.append((*names, options["revision"]))
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ArtifactError, match="Name or service not known") as caught:
        hub_weights(tmp_path / "home", text="someone/some-model@abc123")
    assert "model.source=packages" in str(caught.value)
    assert "local directory" in str(caught.value)
    assert asked == [("someone/some-model", "abc123")]

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.errors import ArtifactError
from model.weights import hub
from model.weights.hub import hub_weights
from model.weights.load import load_speech_tower, load_text_trunk, load_tokenizer
from model.weights.random import random_weights
from model.weights.store import WeightPaths


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightPaths:
    """Tiny weights; the image part, which comes from the package, is replaced by the tiny one."""
    paths = random_weights(tmp_path / "tiny")
    monkeypatch.setattr(hub, "prepare_part", lambda _part, _home: paths.image)
    return paths


def hub_models(tiny: WeightPaths, directory: Path) -> tuple[Path, Path]:
    """The tiny models as transformers would save them."""
    text, audio = directory / "text", directory / "audio"
    text.mkdir()
    audio.mkdir()
    state = {f"bert.{name}": tensor for name, tensor in load_file(tiny.text / "model.safetensors").items()}
    save_file(state | {"bert.pooler.dense.weight": torch.zeros(2)}, text / "model.safetensors")
    config = json.loads((tiny.text / "config.json").read_text())
    (text / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"], "torch_dtype": "float32"}))
    (text / "tokenizer.json").write_bytes((tiny.text / "tokenizer.json").read_bytes())
    state = {f"model.encoder.{name}": tensor for name, tensor in load_file(tiny.audio / "model.safetensors").items()}
    save_file(state | {"model.decoder.x": torch.zeros(2)}, audio / "model.safetensors")
    shape = {"num_mel_bins": 80, "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2}
    shape |= {"encoder_ffn_dim": 32, "max_source_positions": 1500}
    (audio / "config.json").write_text(json.dumps({"model_type": "whisper", **shape}))
    return text, audio


def test_models_in_transformers_layout_are_converted(tiny: WeightPaths, tmp_path: Path) -> None:
    text, audio = hub_models(tiny, tmp_path)
    made = hub_weights(tmp_path / "home", text=str(text), audio=str(audio))
    ids = torch.tensor([load_tokenizer(made.text).encode("a cat").ids])
    with torch.inference_mode():
        found = load_text_trunk(made.text)(input_ids=ids).last_hidden_state
        expected = load_text_trunk(tiny.text)(input_ids=ids).last_hidden_state
        mel = torch.randn(1, 80, 20)
        torch.testing.assert_close(load_speech_tower(made.audio)(mel), load_speech_tower(tiny.audio)(mel))
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=0)  # the word table is kept in half precision


def test_other_model_types_and_missing_files_are_refused(tiny: WeightPaths, tmp_path: Path) -> None:
    text, audio = hub_models(tiny, tmp_path)
    (audio / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match="'whisper' model, expected 'bert'"):
        hub_weights(tmp_path / "home", text=str(audio), audio=str(audio))
    (text / "model.safetensors").rename(text / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"has no model\.safetensors"):
        hub_weights(tmp_path / "home", text=str(text), audio=str(audio))


def test_no_hub_is_explained_with_the_way_out(
    tiny: WeightPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def offline(*_: object, **__: object) -> str:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ArtifactError, match="Name or service not known") as caught:
        hub_weights(tmp_path / "home", text="someone/some-model")
    assert "model.weights.source=packages" in str(caught.value)
    assert "local directory" in str(caught.value)

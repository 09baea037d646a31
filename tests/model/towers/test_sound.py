"""Towers of raw sound and of spectrograms against transformers' own models and feature extractors."""

import numpy as np
import pytest
import torch
from transformers import ASTFeatureExtractor, AutoModel, Wav2Vec2FeatureExtractor

from model.errors import ConfigError, ContentError
from model.media.fbank import fbank
from model.towers import build_tower
from model.towers.config import SpectrogramConfig, WaveformConfig
from model.unified.sound import input_shape, sound_input
from tests.model.towers.tiny import TINY_SPECTROGRAM, TINY_WAVEFORM, WIDTH


def wave(samples: int, seed: int = 0) -> np.ndarray:
    return (0.2 * np.random.default_rng(seed).standard_normal(samples) + 0.01).astype(np.float32)


def shaken(config: WaveformConfig | SpectrogramConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    tower = build_tower(config).eval()
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.2)
    return tower


@pytest.mark.parametrize("name", sorted(TINY_WAVEFORM))
def test_waveform_features_are_the_last_hidden_state_of_transformers(name: str) -> None:
    config = TINY_WAVEFORM[name]
    tower = shaken(config)
    theirs = AutoModel.from_config(tower.model.config).eval()
    theirs.load_state_dict(tower.model.state_dict())
    sound = torch.from_numpy(np.stack([sound_input(config, wave(6400, i), 6400) for i in (0, 1)]))
    with torch.inference_mode():
        found = tower(sound)
        expected = theirs(input_values=torch.nn.functional.pad(sound, (0, 80))).last_hidden_state
    assert found.shape == (2, 20, config.features)
    assert expected.std(dim=1).min() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_waveform_input_is_that_of_the_feature_extractor() -> None:
    config = TINY_WAVEFORM["wav2vec2"]
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    theirs = extractor(wave(5000), sampling_rate=16_000, padding="max_length", max_length=8000, return_tensors="np")
    np.testing.assert_allclose(sound_input(config, wave(5000), 8000), theirs["input_values"][0], atol=1e-5)
    plain = sound_input(TINY_WAVEFORM["wavlm"], wave(5000), 8000)
    np.testing.assert_array_equal(plain, np.pad(wave(5000), (0, 3000)))


def test_no_training_time_masking() -> None:
    tower = shaken(TINY_WAVEFORM["wav2vec2"])
    assert "model.masked_spec_embed" not in tower.state_dict()
    assert tower.model.config.apply_spec_augment is False


def test_fbank_is_that_of_the_feature_extractor() -> None:
    extractor = ASTFeatureExtractor(max_length=98, do_normalize=True)
    theirs = extractor(wave(16_000), sampling_rate=16_000, return_tensors="np")["input_values"][0]
    ours = sound_input(TINY_SPECTROGRAM, wave(16_000), 16_000)
    assert ours.shape == (128, 100)
    np.testing.assert_allclose(ours[:, :98].T, theirs, atol=1e-3)
    with pytest.raises(ValueError, match="multiple of 160"):
        fbank(wave(100), 100)


def test_spectrogram_features_are_those_of_transformers_on_a_full_window() -> None:
    config = TINY_SPECTROGRAM
    tower = shaken(config)
    theirs = AutoModel.from_config(tower.inner).eval()
    theirs.load_state_dict(tower.model.state_dict())
    mel = torch.randn(2, 128, 250, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = tower(mel)
        states = theirs(input_values=torch.nn.functional.pad(mel, (0, 6)).transpose(1, 2)).last_hidden_state
    expected = states[:, 2:].reshape(2, 12, 25, config.features).mean(1)
    assert expected.std(dim=1).min() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_short_window_uses_the_first_columns_of_the_positions() -> None:
    """Equal to transformers' model made for the short window with the matching part of the table."""
    tower = shaken(TINY_SPECTROGRAM)
    short = shaken(TINY_SPECTROGRAM.model_copy(update={"model": {**TINY_SPECTROGRAM.model, "max_length": 56}}))
    state = tower.state_dict()
    table = state["model.embeddings.position_embeddings"]
    columns = table[:, 2:].reshape(1, 12, 25, -1)[:, :, :5].reshape(1, 60, -1)
    short.load_state_dict(state | {"model.embeddings.position_embeddings": torch.cat([table[:, :2], columns], 1)})
    mel = torch.randn(2, 128, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tower(mel), short(mel), atol=1e-5, rtol=1e-4)


def test_windows_and_encoders_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ContentError, match="takes up to 250"):
        shaken(TINY_SPECTROGRAM)(torch.zeros(1, 128, 300))
    for config in (
        WaveformConfig(model={"model_type": "whisper"}),
        WaveformConfig(model={"model_type": "bert", **WIDTH}),
        SpectrogramConfig(model={"model_type": "wav2vec2"}),
    ):
        with pytest.raises(ConfigError, match="audio_tower"):
            build_tower(config)


def test_shapes_are_told_with_time_last() -> None:
    assert input_shape(TINY_SPECTROGRAM, 8000) == (128, 50)
    assert input_shape(TINY_WAVEFORM["hubert"], 8000) == (8000,)

import numpy as np
import pytest

from model.media.mel import log_mel, mel_filters


def chirp(seconds: float) -> np.ndarray:
    times = np.arange(round(seconds * 16_000)) / 16_000
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(times))
    return (0.5 * np.sin(2 * np.pi * 300 * times * (1 + times)) + noise).astype(np.float32)


@pytest.mark.parametrize("bands", [80, 128])
def test_equals_transformers_on_a_padded_30_s_window(bands: int) -> None:
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=bands)
    wave = chirp(3.7)
    theirs = extractor(wave, sampling_rate=16_000, return_tensors="np").input_features[0]  # single precision
    exact = extractor._np_extract_fbank_features(np.pad(wave, (0, 480_000 - len(wave)))[None], "cpu")[0]
    ours = log_mel(wave, 480_000, bands)
    assert ours.shape == theirs.shape == (bands, 3000)
    assert ours.std() > 0.1, "a constant would agree with anything"
    np.testing.assert_allclose(ours, exact, atol=1e-6)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_filters_equal_transformers() -> None:
    from transformers.audio_utils import mel_filter_bank

    theirs = mel_filter_bank(201, 80, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel_filters(80), theirs, atol=1e-12)


def test_a_short_window_holds_the_first_frames_of_a_long_one() -> None:
    wave = chirp(2.0)
    short, long = log_mel(wave, 32_000), log_mel(wave, 480_000)
    assert short.shape == (80, 200)
    np.testing.assert_allclose(short[:, :198], long[:, :198], atol=1e-6)  # the last frames see the mirrored edge


def test_long_sound_is_cut_and_short_sound_padded() -> None:
    wave = chirp(2.0)
    np.testing.assert_array_equal(log_mel(wave, 16_000), log_mel(wave[:16_000], 16_000))
    padded = np.concatenate([wave[:8000], np.zeros(8000, dtype=np.float32)])
    np.testing.assert_array_equal(log_mel(wave[:8000], 16_000), log_mel(padded, 16_000))


@pytest.mark.parametrize("samples", [0, -320, 160, 16_001])
def test_a_window_must_give_an_even_number_of_frames(samples: int) -> None:
    with pytest.raises(ValueError, match="multiple of 320"):
        log_mel(chirp(1.0), samples)


def test_silence_is_finite() -> None:
    np.testing.assert_allclose(log_mel(np.zeros(320, dtype=np.float32), 320), -1.5)

"""Kaldi's log-mel filter banks in numpy, equal to transformers' ``ASTFeatureExtractor`` without torchaudio.

Shape legend: M mel bands, T frames of 10 ms, N samples at 16 kHz, F = 257 frequency bins, W = 400 samples a frame.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from model.media.mel import HOP, SAMPLE_RATE

FRAME, FBANK_FFT = 400, 512
PREEMPHASIS = 0.97
FLOOR = 1.192092955078125e-07
LOWEST_HZ = 20.0


def fbank(wave_N: NDArray[np.float32], samples: int, bands: int = 128) -> NDArray[np.float32]:
    """Compute the log-mel filter banks of a window; silence is put after a shorter sound.

    Returns:
        float32 array of shape [bands, samples / 160].

    Raises:
        ValueError: ``samples`` is not a positive multiple of 160.
    """
    if samples <= 0 or samples % HOP:
        raise ValueError(f"window of {samples} samples: give a positive multiple of {HOP}")
    window_N = np.zeros(samples + FRAME - HOP, dtype=np.float64)
    used = min(samples, len(wave_N))
    window_N[:used] = wave_N[:used]
    frames_TW = np.lib.stride_tricks.sliding_window_view(window_N, FRAME)[::HOP].copy()
    frames_TW -= frames_TW.mean(axis=1, keepdims=True)
    frames_TW[:, 1:] -= PREEMPHASIS * frames_TW[:, :-1]
    frames_TW[:, 0] *= 1 - PREEMPHASIS
    power_TF = np.abs(np.fft.rfft(frames_TW * np.hanning(FRAME), FBANK_FFT, axis=1)) ** 2
    mel_TM = np.log(np.maximum(power_TF @ kaldi_filters(bands), FLOOR))
    return np.ascontiguousarray(mel_TM.T, dtype=np.float32)


@lru_cache(maxsize=4)
def kaldi_filters(bands: int) -> NDArray[np.float64]:
    """Filters from 20 Hz to 8 kHz, triangular on the mel scale itself, shape [F, bands]."""
    bins_F = _mel(np.arange(FBANK_FFT // 2 + 1) * SAMPLE_RATE / FBANK_FFT)
    edges = np.linspace(_mel(np.asarray(LOWEST_HZ)), _mel(np.asarray(SAMPLE_RATE / 2)), bands + 2)
    slopes = (edges[None, :] - bins_F[:, None]) / np.diff(edges)[0]
    filters: NDArray[np.float64] = np.maximum(0.0, np.minimum(-slopes[:, :-2], slopes[:, 2:]))
    filters.setflags(write=False)
    return filters


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    mel: NDArray[np.float64] = 1127.0 * np.log(1.0 + hz / 700.0)
    return mel

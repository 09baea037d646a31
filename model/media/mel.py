"""Log-mel front end in numpy, equal to transformers' ``WhisperFeatureExtractor``, for windows of any length.

Pre-processing stays outside the graph, so torch and ONNX Runtime get the same input.

Shape legend: M mel bands, F = 201 frequency bins, T frames of 10 ms, N samples at 16 kHz.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160
DYNAMIC_RANGE = 8.0  # log10 units below the loudest bin of the window
# Slaney's mel scale: linear below 1 kHz, logarithmic above.
LINEAR_HZ_PER_MEL = 200.0 / 3.0
LOG_START_HZ = 1000.0
LOG_START_MEL = LOG_START_HZ / LINEAR_HZ_PER_MEL
LOG_STEP = np.log(6.4) / 27.0


def log_mel(wave_N: NDArray[np.float32], samples: int, bands: int = 80) -> NDArray[np.float32]:
    """Compute the log-mel spectrogram of a window.

    Args:
        wave_N: mono audio at 16 kHz; cut or padded with zeros to the window.
        samples: window length; a multiple of 320 so that the frame count is even.
        bands: number of mel bands.

    Returns:
        float32 array of shape [bands, samples / 160]. Whisper scales by the loudest bin of the window, so the same
        sound in a longer window keeps its values as long as nothing louder follows.

    Raises:
        ValueError: ``samples`` is not a positive multiple of 320.
    """
    if samples <= 0 or samples % (2 * HOP):
        raise ValueError(f"window of {samples} samples: give a positive multiple of {2 * HOP}")
    window_N = np.zeros(samples, dtype=np.float64)
    used = min(samples, len(wave_N))
    window_N[:used] = wave_N[:used]
    padded = np.pad(window_N, N_FFT // 2, mode="reflect")
    frames_TW = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][:-1]
    power_TF = np.abs(np.fft.rfft(frames_TW * _hann(), axis=1)) ** 2
    mel_MT = np.log10(np.maximum(mel_filters(bands).T @ power_TF.T, 1e-10))
    mel_MT = np.maximum(mel_MT, mel_MT.max() - DYNAMIC_RANGE)
    scaled_MT: NDArray[np.float32] = ((mel_MT + 4.0) / 4.0).astype(np.float32)
    return scaled_MT


@lru_cache(maxsize=8)
def mel_filters(bands: int) -> NDArray[np.float64]:
    """Triangular Slaney-normalised filters from 0 to 8 kHz, shape [F, bands]."""
    bins_F = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    edges = _mel_to_hz(np.linspace(_hz_to_mel(0.0), _hz_to_mel(SAMPLE_RATE / 2), bands + 2))
    widths = np.diff(edges)
    slopes = edges[None, :] - bins_F[:, None]
    rising = -slopes[:, :-2] / widths[:-1]
    falling = slopes[:, 2:] / widths[1:]
    filters = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))
    filters.setflags(write=False)
    return filters


@lru_cache(maxsize=1)
def _hann() -> NDArray[np.float64]:
    return np.hanning(N_FFT + 1)[:-1]


def _hz_to_mel(hz: float) -> float:
    return hz / LINEAR_HZ_PER_MEL if hz < LOG_START_HZ else float(LOG_START_MEL + np.log(hz / LOG_START_HZ) / LOG_STEP)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithmic = LOG_START_HZ * np.exp(LOG_STEP * (mel - LOG_START_MEL))
    return np.where(mel < LOG_START_MEL, mel * LINEAR_HZ_PER_MEL, logarithmic)

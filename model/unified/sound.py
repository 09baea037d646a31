"""What each audio tower hears: samples at 16 kHz to the input of the tower, time on the last axis. Numpy only.

Shape legend: N samples, M mel bands, F mel frames of 10 ms.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import CapabilityError
from model.media.fbank import fbank
from model.media.mel import log_mel
from model.towers.config import AudioTowerConfig, SoundInput, SpectrogramConfig, WaveformConfig, WhisperConfig
from model.unified.batch import Array

VARIANCE_FLOOR = 1e-7


def sound_input(tower: AudioTowerConfig | None, wave_N: NDArray[np.float32], samples: int) -> Array:
    """Prepare a window for ``tower``, filled with silence to ``samples``.

    Raises:
        CapabilityError: the model has no audio tower.
    """
    if tower is None:
        raise CapabilityError("this model has no audio tower")
    return READERS[tower.input](tower, wave_N, samples)


def input_shape(tower: AudioTowerConfig, samples: int) -> tuple[int, ...]:
    """Shape of the tower's input for a window of ``samples``."""
    return sound_input(tower, np.zeros(samples, dtype=np.float32), samples).shape


def _log_mel(tower: WhisperConfig, wave_N: NDArray[np.float32], samples: int) -> Array:
    return log_mel(wave_N, samples, tower.mel_bands)


def _waveform(tower: WaveformConfig, wave_N: NDArray[np.float32], samples: int) -> Array:
    if tower.normalise and len(wave_N):
        wave_N = (wave_N - wave_N.mean()) / np.sqrt(wave_N.var() + VARIANCE_FLOOR)
    window_N = np.zeros(samples, dtype=np.float32)
    window_N[: len(wave_N)] = wave_N[:samples]
    return window_N


def _fbank(tower: SpectrogramConfig, wave_N: NDArray[np.float32], samples: int) -> Array:
    scaled_MF: Array = (fbank(wave_N, samples, tower.mel_bands) - np.float32(tower.mean)) / np.float32(2 * tower.std)
    return scaled_MF


READERS: dict[SoundInput, Callable[[Any, NDArray[np.float32], int], Array]] = {
    "log_mel": _log_mel,
    "waveform": _waveform,
    "fbank": _fbank,
}

"""Two sounds laid over each other: how different their log-mel pictures are where there is something to hear.

Shape legend: N samples, M = 32 mel bands, T frames of 10 ms.
"""

import numpy as np
from numpy.typing import NDArray

from model.media.mel import HOP, log_mel

BANDS = 32
RANGE = 5.0  # powers of ten below the loudest bin
HEARD = 2.5  # bins louder than this below the loudest count
REACH = 40  # frames of shift, either way
COARSE = 4
LEAST_OVERLAP = 0.8
NOTHING = float(RANGE)

Spectrum = NDArray[np.float32]


def spectrum(wave_N: NDArray[np.float32]) -> Spectrum:
    """Log-mel picture in powers of ten below its loudest bin, -5 to 0; [M, T]."""
    peak = float(np.abs(wave_N).max(initial=0.0))
    step = 2 * HOP
    samples = max(step, -(-len(wave_N) // step) * step)
    mel_MT = log_mel((wave_N / (peak or 1.0)).astype(np.float32), samples, BANDS) * 4
    picture_MT: Spectrum = np.maximum(mel_MT - mel_MT.max(), -RANGE)
    return picture_MT


def sound_distance(first_MT: Spectrum, second_MT: Spectrum) -> float:
    """Mean difference over the bins that are heard in either, at the best shift and gain, in powers of ten of energy.

    The overlap must be four fifths of the longer one, else the answer is the whole range.
    """
    coarse = {shift: _at(first_MT, second_MT, shift) for shift in range(-REACH, REACH + 1, COARSE)}
    best = min(coarse, key=lambda shift: (coarse[shift], abs(shift)))
    fine = (_at(first_MT, second_MT, shift) for shift in range(best - COARSE + 1, best + COARSE))
    return min(coarse[best], *fine)


def _at(first_MT: Spectrum, second_MT: Spectrum, shift: int) -> float:
    a, b = first_MT[:, max(0, shift) :], second_MT[:, max(0, -shift) :]
    shared = min(a.shape[1], b.shape[1])
    a, b = a[:, :shared], b[:, :shared]
    heard = (a > -HEARD) | (b > -HEARD)
    # What is heard and does not overlap was cut off; the ends may be silent.
    whole = max(_loudness(first_MT), _loudness(second_MT))
    if not heard.any() or min(_loudness(a), _loudness(b)) < LEAST_OVERLAP * whole:
        return NOTHING
    apart = (a - b)[heard]
    return float(np.abs(apart - np.median(apart)).mean())


def _loudness(picture_MT: Spectrum) -> int:
    return int((picture_MT > -HEARD).any(axis=0).sum())

"""Two sounds laid over each other: how different their log-mel pictures are where there is something to hear.

A sound that begins half a frame later has another picture: pulses of a voice fall differently into the frames, which
makes as much of a difference as is allowed. So each sound has several pictures, a part of a frame apart.

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

# Samples before the first frame of each picture. Of two sounds the first is taken with all of the second, the second
# with the last of the first: shifts of 0, 1, 2 and 3 quarters of a frame.
LATE = (0, HOP // 4, HOP // 2)
# Further apart than this no part of a frame brings two sounds together: it changes the distance by 0.25 at most.
HOPELESS = 0.5

Spectrum = NDArray[np.floating]
Spectra = tuple[Spectrum, ...]


def spectra(wave_N: NDArray[np.float32]) -> Spectra:
    """Log-mel pictures for each of ``LATE``; [M, T] float16, which is as exact as the ear of the rules."""
    later = (np.concatenate([np.zeros(late, np.float32), wave_N]) for late in LATE)
    return tuple(_spectrum(wave_N).astype(np.float16) for wave_N in later)


def _spectrum(wave_N: NDArray[np.float32]) -> Spectrum:
    """Log-mel picture in powers of ten below its loudest bin, -5 to 0; [M, T]."""
    peak = float(np.abs(wave_N).max(initial=0.0))
    step = 2 * HOP
    samples = max(step, -(-len(wave_N) // step) * step)
    mel_MT = log_mel((wave_N / (peak or 1.0)).astype(np.float32), samples, BANDS) * 4
    picture_MT: Spectrum = np.maximum(mel_MT - mel_MT.max(), -RANGE)
    return picture_MT


def sound_distance(first: Spectra, second: Spectra) -> float:
    """Mean difference over the bins that are heard in either, at the best shift and gain, in powers of ten of energy.

    The overlap must be four fifths of the longer one, else the answer is the whole range.
    """
    distance = _whole_frames(first[0], second[0])
    if distance > HOPELESS:
        return distance
    further = [*((first[0], later) for later in second[1:]), (first[-1], second[1])]
    return min(distance, *(_whole_frames(a, b) for a, b in further))


def _whole_frames(first_MT: Spectrum, second_MT: Spectrum) -> float:
    """The same for one picture of each, at the best shift by frames."""
    first_MT, second_MT = first_MT.astype(np.float32), second_MT.astype(np.float32)
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

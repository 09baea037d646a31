"""Sounds: pieces of some seconds of the log-mel picture, relative to the loudest moment, silence at the ends cut off.

So neither gain, nor another codec, nor a little silence before it changes much.

Shape legend: N samples, M mel bands, T frames of 10 ms, G = 32 sides of a piece, B bytes of a signature.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data.fingerprints.picture import GRID, dealt, sign_word
from data.fingerprints.units import unit_words
from model.media.mel import HOP, log_mel

PIECE_SECONDS = 4.0
FRAMES_PER_SECOND = 100
UNSURE = 0.06  # pieces
RANGE = 5.0  # powers of ten below the loudest bin: under it codecs differ
# The ends are cut where so much of the energy has passed: a bound on loudness would jump with a little noise.
QUIET_SHARE = 0.005
SIGNATURE_BANDS, SIGNATURE_TIMES = 12, 16
DEAD_ZONE = 0.005


def sound_hashes(wave_N: NDArray[np.float32]) -> tuple[int, ...]:
    """Identity of a sound: one unit for about four seconds, at least one.

    Args:
        wave_N: mono at 16 kHz, as ``decode_audio`` gives it.
    """
    picture_MT, start, end = _picture(wave_N)
    edges = (np.linspace(start, end, pieces + 1) for pieces in _divisions((end - start) / FRAMES_PER_SECOND))
    return tuple(
        word for lows in edges for low, high in pairwise(lows) for word in _unit(_piece(picture_MT, low, high))
    )


def _divisions(seconds: float) -> list[int]:
    """In how many pieces a sound is cut: in either of two where another codec might tip the scales."""
    exact = seconds / PIECE_SECONDS
    return sorted({max(1, round(exact - UNSURE)), max(1, round(exact + UNSURE))})


def _picture(wave_N: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, float]:
    """Log-mel picture [G, T], -1 (nothing) to 0 (the loudest bin), and the first and last frame that count."""
    step = 2 * HOP
    peak = float(np.abs(wave_N).max(initial=0.0))
    if peak == 0.0:
        return np.full((GRID, 1), -1.0), 0.0, 1.0
    samples = max(step, -(-len(wave_N) // step) * step)
    mel_MT = log_mel((wave_N / peak).astype(np.float32), samples, GRID).astype(np.float64) * 4.0
    mel_MT -= mel_MT.max()
    passed_T = np.concatenate([[0.0], (10.0**mel_MT).sum(axis=0).cumsum()])
    start, end = np.interp([QUIET_SHARE, 1 - QUIET_SHARE], passed_T / passed_T[-1], np.arange(len(passed_T)))
    # A click may hold all the energy.
    middle, half = (start + end) / 2, max(1.0, (end - start) / 2)
    low, high = max(0.0, middle - half), min(float(mel_MT.shape[1]), middle + half)
    return np.maximum(mel_MT, -RANGE) / RANGE, low, high


def _piece(picture_MT: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    """Means over 32 equal stretches of time of the frames from ``start`` to ``end``: [G, G]."""
    total = np.concatenate([np.zeros((len(picture_MT), 1)), picture_MT.cumsum(axis=1)], axis=1)
    edges = np.linspace(start, end, GRID + 1)
    low = np.minimum(edges.astype(int), picture_MT.shape[1] - 1)
    sums = total[:, low] + (edges - low) * picture_MT[:, low]
    means: NDArray[np.float64] = np.diff(sums, axis=1) * (GRID / (end - start))
    return means


def _unit(piece_GG: NDArray[np.float64]) -> tuple[int, ...]:
    bands = np.array_split(piece_GG, SIGNATURE_BANDS, axis=0)
    rows = np.stack([band.mean(axis=0) for band in bands])
    small = rows.reshape(SIGNATURE_BANDS, SIGNATURE_TIMES, -1).mean(axis=2)
    signature = ((small + 1.0) * 255).round().clip(0, 255).astype(np.uint8)
    return unit_words([sign_word(piece_GG, _frequencies(), DEAD_ZONE)], signature.reshape(-1))


@lru_cache(maxsize=1)
def _frequencies() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """64 of ten frequencies over the bands and seven over time, low ones first; none that is constant in time."""
    bands, times = (axis.reshape(-1) for axis in np.meshgrid(np.arange(10), np.arange(1, 8), indexing="ij"))
    order = np.argsort(bands + times, kind="stable")[:64]
    return dealt(bands[order], times[order])

"""Sounds: pieces of some seconds of the log-mel picture, relative to the loudest moment, silence at the ends cut off.

So neither gain, nor another codec, nor a little silence before it changes much.

Shape legend: N samples, M mel bands, T frames of 10 ms, G = 32 sides of a piece, B bytes of a signature.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data.fingerprints.picture import GRID, sign_word
from data.fingerprints.units import unit_words
from model.media.mel import HOP, log_mel

PIECE_SECONDS = 4.0
FRAMES_PER_SECOND = 100
RANGE = 5.0  # powers of ten below the loudest bin: under it codecs differ
GATE = 2.5  # ends that are quieter than this below the loudest frame are cut off
SIGNATURE_BANDS, SIGNATURE_TIMES = 12, 16
DEAD_ZONE = 0.02


def sound_hashes(wave_N: NDArray[np.float32]) -> tuple[int, ...]:
    """Identity of a sound: one unit for about four seconds, at least one.

    Args:
        wave_N: mono at 16 kHz, as ``decode_audio`` gives it.
    """
    picture_MT = _trimmed(wave_N)
    pieces = max(1, round(picture_MT.shape[1] / (PIECE_SECONDS * FRAMES_PER_SECOND)))
    edges = np.linspace(0, picture_MT.shape[1], pieces + 1)
    return tuple(word for start, end in pairwise(edges) for word in _unit(_piece(picture_MT, start, end)))


def _trimmed(wave_N: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-mel picture in powers of ten below the loudest bin, -1 (nothing) to 0, without quiet ends; [G, T]."""
    step = 2 * HOP
    peak = float(np.abs(wave_N).max(initial=0.0))
    if peak == 0.0:
        return np.full((GRID, 1), -1.0)
    samples = max(step, -(-len(wave_N) // step) * step)
    mel_MT = log_mel((wave_N / peak).astype(np.float32), samples, GRID).astype(np.float64) * 4.0
    picture_MT = np.maximum(mel_MT - mel_MT.max(), -RANGE) / RANGE
    loud = np.flatnonzero(picture_MT.max(axis=0) > -GATE / RANGE)
    return picture_MT[:, loud[0] : loud[-1] + 1]


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
    """Eight frequencies over the bands times the first eight over time, without what is constant in time."""
    bands, times = np.meshgrid(np.arange(8), np.arange(1, 9), indexing="ij")
    order = np.argsort((bands + times).reshape(-1), kind="stable")
    return bands.reshape(-1)[order], times.reshape(-1)[order]

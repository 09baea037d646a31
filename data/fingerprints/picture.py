"""Pictures and the frames of clips: signs of a low-frequency cosine transform, and a thumbnail of 8 x 8 colours.

Shape legend: H x W pixels, 3 colours, F frames, G = 32 sides of the grey square, K = 8 frequencies.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.fingerprints.units import unit_words

GRID = 32
FREQUENCIES = 8
THUMBNAIL = 8
# Coefficients within so many grey levels of zero count as zero: in symmetric drawings half of them are, and their
# signs are noise. A flat picture so becomes the word 0.
DEAD_ZONE = 0.6
LUMA = np.array([0.299, 0.587, 0.114])


def picture_hash(pixels_HW3: NDArray[np.uint8]) -> int:
    """Perceptual hash of 64 bits; pictures that look alike differ in a few of them. A flat picture gives 0."""
    grey_GG = _scaled(pixels_HW3, GRID) @ LUMA
    return sign_word(grey_GG, _frequencies(), DEAD_ZONE)


def picture_hashes(pixels_HW3: NDArray[np.uint8]) -> tuple[int, ...]:
    """Identity of a picture: its hash, and a thumbnail as signature.

    Args:
        pixels_HW3: RGB, as ``decode_image`` gives it with 64 pixels a side; other decoding gives other words.
    """
    small = _scaled(pixels_HW3, THUMBNAIL).round().astype(np.uint8)
    return unit_words([picture_hash(pixels_HW3)], small.reshape(-1))


def clip_hashes(frames: Iterable[NDArray[np.uint8]]) -> tuple[int, ...]:
    """Identity of a clip: that of each of its frames [H, W, 3], in order."""
    return tuple(word for frame in frames for word in picture_hashes(frame))


def sign_word(values_GG: NDArray[np.floating], chosen: tuple[NDArray[np.intp], NDArray[np.intp]], dead: float) -> int:
    """64 bits: which of the chosen coefficients of the cosine transform of a square lie above ``dead``."""
    basis_KG = _cosines()
    coefficients_KK = basis_KG @ values_GG @ basis_KG.T
    bits = coefficients_KK[chosen] > dead
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _scaled(pixels_HW3: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    image = Image.fromarray(np.ascontiguousarray(pixels_HW3)).resize((side, side), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float64)


@lru_cache(maxsize=1)
def _cosines() -> NDArray[np.float64]:
    """Rows of the cosine transform, scaled so that a coefficient is in units of the values: [K + 2, G]."""
    places = (np.arange(GRID) + 0.5) / GRID
    return np.cos(np.pi * np.arange(FREQUENCIES + 2)[:, None] * places) / GRID * 2


@lru_cache(maxsize=1)
def _frequencies() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The 64 lowest frequencies but the constant."""
    side = np.arange(FREQUENCIES + 2)
    rows, columns = (axis.reshape(-1) for axis in np.meshgrid(side, side, indexing="ij"))
    return dealt(*(axis[np.lexsort((rows, rows + columns))[1:65]] for axis in (rows, columns)))


def dealt(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """64 frequencies, low ones first, dealt out to the four bands of a word: each gets low and high ones.

    High ones are often zero; a band of those alone would be the same for many items, and find all of them.
    """
    return rows.reshape(16, 4).T.reshape(-1), columns.reshape(16, 4).T.reshape(-1)

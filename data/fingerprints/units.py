"""How the words of a medium are laid out: units of search words and a signature.

Shape legend: U units, S search words of a unit, B = 192 bytes of a signature.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError

SIGNATURE_BYTES = 192
SIGNATURE_WORDS = SIGNATURE_BYTES // 8
# Search words of a unit: a page has one for its looks and one for its text.
SEARCH_WORDS = {"image": 1, "video": 1, "audio": 1, "document": 2}


class Units(NamedTuple):
    """Search words [U, S] uint64 and signatures [U, B] uint8 of one medium."""

    search_US: NDArray[np.uint64]
    signature_UB: NDArray[np.uint8]


def unit_words(search: Sequence[int], signature_B: NDArray[np.uint8]) -> tuple[int, ...]:
    """Words of one unit: its search words, then the signature as little-endian words."""
    return (*search, *np.frombuffer(signature_B.tobytes(), "<u8").tolist())


def split_units(modality: str, words: Sequence[int]) -> Units:
    """Take the words of a medium apart.

    Raises:
        DataError: the modality has no fingerprint, or the number of words is not a whole number of units.
    """
    if modality not in SEARCH_WORDS:
        raise DataError(f"media of modality {modality!r} have no fingerprint; known are {', '.join(SEARCH_WORDS)}")
    search = SEARCH_WORDS[modality]
    width = search + SIGNATURE_WORDS
    if len(words) % width:
        raise DataError(f"{len(words)} words of {modality} are no multiple of {width}; probe the corpus again")
    table = np.asarray(words, dtype=np.uint64).reshape(-1, width)
    signature = np.ascontiguousarray(table[:, search:]).astype("<u8").view(np.uint8)
    return Units(table[:, :search], signature.reshape(len(table), SIGNATURE_BYTES))

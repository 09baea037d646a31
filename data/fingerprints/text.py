"""Texts: a normal form in which typography, case and punctuation do not count, its words, and a hash of 64 bits."""

import hashlib
import re
import unicodedata
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# Scripts that put no spaces between words: each character is a word there.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
_TOKENS = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+|[^\w\s]*[+=<>$€£%#@&|~^][^\w\s]*")
_MARKS = re.compile(r"[\u064b-\u0652\u0591-\u05c7]")  # Arabic and Hebrew vowel signs


def normal_text(text: str) -> str:
    """Words in lower case with one space between; punctuation, typography and vowel signs are gone.

    >>> normal_text("The  “Quick” FOX—jumped!"), normal_text("東京 へ。")
    ('the quick fox jumped', '東 京 へ')
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    if not folded.isascii():
        folded = _MARKS.sub("", folded)
    return " ".join(_TOKENS.findall(folded))


def text_hash(normal: str) -> int:
    """64 bits of a normal text, equal for equal texts only."""
    return int.from_bytes(hashlib.blake2b(normal.encode(), digest_size=8).digest(), "big")


def shingles(normal: str) -> set[str]:
    """Pairs of neighbouring words, and the words of a text of one."""
    words = normal.split()
    return {f"{a} {b}" for a, b in pairwise(words)} or set(words)


def similarity(a: str, b: str) -> float:
    """Jaccard index of the shingles of two normal texts, 0 to 1."""
    first, second = shingles(a), shingles(b)
    return len(first & second) / len(first | second) if first or second else 1.0


def similarity_word(text: str) -> int:
    """Similarity hash (Charikar) of 64 bits over the words of a text; 0 for a text without words.

    Few bits differ when few words do.
    """
    words = normal_text(text).split()
    if not words:
        return 0
    grams = [*words, *(f"{a} {b}" for a, b in pairwise(words))]
    digests = b"".join(hashlib.blake2b(gram.encode(), digest_size=8).digest() for gram in grams)
    bits_NB: NDArray[np.uint8] = np.unpackbits(np.frombuffer(digests, np.uint8).reshape(-1, 8), axis=1)
    votes = bits_NB.sum(axis=0, dtype=np.int64) * 2 > len(grams)
    return int.from_bytes(np.packbits(votes).tobytes(), "big") or 1

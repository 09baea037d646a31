"""Writing system of a text: cheap, exact for the scripts of the corpus, used by data checks and by request capture."""

import unicodedata
from collections import Counter
from functools import lru_cache

UNKNOWN = "Zyyy"
"""ISO 15924 code of a text without letters (digits, punctuation, emoji)."""

_SCRIPTS = {
    "LATIN": "Latn",
    "CYRILLIC": "Cyrl",
    "GREEK": "Grek",
    "ARABIC": "Arab",
    "HEBREW": "Hebr",
    "CJK": "Hani",
    "HIRAGANA": "Hira",
    "KATAKANA": "Kana",
    "HALFWIDTH": "Kana",
    "KATAKANA-HIRAGANA": "Kana",
    "HANGUL": "Hang",
    "DEVANAGARI": "Deva",
    "BENGALI": "Beng",
    "GURMUKHI": "Guru",
    "GUJARATI": "Gujr",
    "ORIYA": "Orya",
    "TAMIL": "Taml",
    "TELUGU": "Telu",
    "KANNADA": "Knda",
    "MALAYALAM": "Mlym",
    "SINHALA": "Sinh",
    "THAI": "Thai",
    "LAO": "Laoo",
    "TIBETAN": "Tibt",
    "MYANMAR": "Mymr",
    "GEORGIAN": "Geor",
    "ARMENIAN": "Armn",
    "ETHIOPIC": "Ethi",
    "KHMER": "Khmr",
    "MONGOLIAN": "Mong",
}


@lru_cache(maxsize=65536)
def script_of_character(character: str) -> str:
    """ISO 15924 code of a letter by its Unicode name, ``Zyyy`` for anything that is not a letter or mark."""
    if unicodedata.category(character)[0] not in "LM":
        return UNKNOWN
    return _SCRIPTS.get(unicodedata.name(character, "").split(" ")[0], UNKNOWN)


def scripts_of(text: str, *, limit: int = 256) -> Counter[str]:
    """Number of letters in each script among the first ``limit`` characters."""
    counts = Counter(script_of_character(character) for character in text[:limit])
    del counts[UNKNOWN]
    return counts


def script_of(text: str, *, limit: int = 256) -> str:
    """The script that most letters belong to; kana with Han is ``Jpan``; ``Zyyy`` when there are no letters."""
    counts = scripts_of(text, limit=limit)
    if not counts:
        return UNKNOWN
    kana = counts["Hira"] + counts["Kana"]
    if kana:
        counts["Jpan"] = kana + counts["Hani"]
        for merged in ("Hira", "Kana", "Hani"):
            del counts[merged]
    return max(counts, key=lambda script: (counts[script], script))

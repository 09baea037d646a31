"""Language tags: well-formed BCP-47 with a known language, and the scripts that a language is written in."""

import re
from collections.abc import Sequence
from functools import lru_cache

from model.script import scripts_of

# ISO 639-1, plus the special codes of ISO 639-2 that a corpus uses. Three-letter codes pass by form.
_CODES = """
    aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo
    es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg
    ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn
    no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta
    te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
_TWO_LETTERS = frozenset(_CODES.split())
_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(-(?P<script>[A-Z][a-z]{3}))?(-(?P<region>[A-Z]{2}|\d{3}))?(-([a-z0-9]{5,8}|\d[a-z0-9]{3}))*"
)

# Languages that are not written in Latin letters; any other language is expected in Latin.
SCRIPTS = {
    "am": "Ethi", "ar": "Arab", "as": "Beng", "be": "Cyrl", "bg": "Cyrl", "bn": "Beng", "bo": "Tibt", "dz": "Tibt",
    "el": "Grek", "fa": "Arab", "gu": "Gujr", "he": "Hebr", "hi": "Deva", "hy": "Armn", "ja": "Hani Hira Kana",
    "ka": "Geor", "kk": "Cyrl", "km": "Khmr", "kn": "Knda", "ko": "Hang Hani", "ky": "Cyrl", "lo": "Laoo", "mk": "Cyrl",
    "ml": "Mlym", "mn": "Cyrl Mong", "mr": "Deva", "my": "Mymr", "ne": "Deva", "or": "Orya", "pa": "Guru Arab",
    "ps": "Arab", "ru": "Cyrl", "sa": "Deva", "sd": "Arab Deva", "si": "Sinh", "sr": "Cyrl Latn", "ta": "Taml",
    "te": "Telu", "tg": "Cyrl", "th": "Thai", "ti": "Ethi", "tt": "Cyrl", "ug": "Arab", "uk": "Cyrl", "ur": "Arab",
    "uz": "Latn Cyrl", "yi": "Hebr", "zh": "Hani",
}  # fmt: skip
_FREE = frozenset({"und", "mul", "zxx"})
_LONGEST_NAME = 20
_FEWEST_LETTERS = 3


@lru_cache(maxsize=4096)
def is_language_tag(tag: str) -> bool:
    """Whether ``tag`` is BCP-47 in canonical case (``pt-BR``, ``zh-Hant``) with a known language."""
    match = _TAG.fullmatch(tag)
    return match is not None and (len(match["language"]) == 3 or match["language"] in _TWO_LETTERS)


@lru_cache(maxsize=4096)
def scripts_of_language(tag: str) -> frozenset[str]:
    """Scripts (ISO 15924) that text of this tag may be in; empty when anything may be."""
    match = _TAG.fullmatch(tag)
    if match is None or match["language"] in _FREE or (len(match["language"]) > 2 and not match["script"]):
        return frozenset()
    named = {"Hans": "Hani", "Hant": "Hani", "Jpan": "Hani Hira Kana", "Kore": "Hang Hani"}
    if match["script"]:
        return frozenset(named.get(match["script"], match["script"]).split())
    return frozenset(SCRIPTS.get(match["language"], "Latn").split())


def script_problem(text: str, tags: Sequence[str]) -> str | None:
    """Say how the letters of a text contradict its language tags.

    Returns:
        ``None`` when a letter fits one of the tags or there are too few letters to tell; ``script_mismatch`` when none
        fits; ``latin_only`` for short Latin text in a language of another script, which may be a product name.
    """
    wanted = [scripts_of_language(tag) for tag in tags]
    if not wanted or not all(wanted):
        return None
    expected = frozenset[str]().union(*wanted)
    if text.isascii() and "Latn" in expected:
        return None
    counts = scripts_of(text)
    letters = counts.total()
    if letters < _FEWEST_LETTERS or any(counts[script] for script in expected):
        return None
    if set(counts) == {"Latn"} and letters <= _LONGEST_NAME:
        return "latin_only"
    return "script_mismatch"

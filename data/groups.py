"""Leakage groups of pictured concepts: near-twins (clock faces, hearts, flags, man/woman X) share one key.

A group is made from the English short name, before any fan-out to artists, languages, voices or clips, so that
everything drawn, spoken or filmed of one concept falls in one split (see ``data.splits.split_of``).
"""

import re

PEOPLE = ("man", "woman", "person", "men", "women", "people", "boy", "girl")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white", "pink", "grey", "gray")
CLOCK_ENDINGS = (" o'clock", "-thirty")

_LEADING_PEOPLE = re.compile(rf"^(?:(?:{'|'.join(PEOPLE)})(?:\s+and)?(?:\s+|$))+")
_FLAG = re.compile(r"\bflags?\b")
_SHAPE = re.compile(rf"\b(?:{'|'.join(COLOURS)})\b.*\b(?:squares?|circles?)\b")
_LEADING_ARTICLE = re.compile(r"^(?:a|an|the|some)\s+")


def concept_group(name: str) -> str:
    """Leakage group of a drawn or photographed concept from its English short name.

    >>> concept_group("woman cook"), concept_group("three o’clock"), concept_group("flag: France")
    ('cook', 'clock', 'flag')
    """
    key = name.lower().replace("’", "'").strip()
    if key.endswith(CLOCK_ENDINGS):
        return "clock"
    if "heart" in key:
        return "heart"
    if key.startswith("keycap"):
        return "keycap"
    if _FLAG.search(key):
        return "flag"
    if _SHAPE.search(key):
        return "shape"
    key = key.split(":", maxsplit=1)[0].strip()
    return _LEADING_PEOPLE.sub("", key).strip() or "person"


def caption_group(caption: str) -> str:
    """Leakage group of a captioned picture: as for a concept, without the leading article and final stop.

    >>> caption_group("A flower.") == caption_group("some flower!") == concept_group("flower")
    True
    """
    key = caption.lower().strip().rstrip(" .!")
    return concept_group(_LEADING_ARTICLE.sub("", key))

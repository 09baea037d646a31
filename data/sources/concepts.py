"""Emoji concepts: code points with a CLDR name that every artist has drawn, joined on code points without fe0f."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from data.groups import concept_group
from data.records import Split
from data.sources.media import load_picture
from data.sources.packages import unpack
from data.splits import split_of

LANGUAGES = (
    "en", "de", "fr", "es", "it", "pt", "nl", "sv", "pl", "cs", "ru", "uk",
    "el", "tr", "ar", "he", "hi", "bn", "th", "vi", "id", "ja", "ko", "zh",
)  # fmt: skip
SKIN_TONES = frozenset({"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"})
PICTURE_SIZE = 128
# Pictures of these OpenMoji subgroups show one nameable thing, which can stand beside another and move.
OBJECT_SUBGROUPS = frozenset({
    "animal-mammal", "animal-bird", "animal-amphibian", "animal-reptile", "animal-marine", "animal-bug",
    "plant-flower", "plant-other", "food-fruit", "food-vegetable", "food-prepared", "food-asian", "food-sweet",
    "drink", "dishware", "clothing", "musical-instrument", "transport-ground", "transport-air",
    "transport-water", "phone", "computer", "light-video", "household", "tool", "sport", "game", "award-medal",
    "place-building", "book-paper", "office", "lock", "medical", "science",
})  # fmt: skip


@dataclass(frozen=True)
class Artist:
    """One set of drawings: where its files lie in its package and how they are named."""

    package: str
    folder: str
    suffix: str
    license: str


ARTISTS: Mapping[str, Artist] = {
    "fluent": Artist("fluent", "package/assets", ".webp", "MIT"),
    "noto": Artist("noto", "package/img/google/64", ".png", "Apache-2.0"),
    "twemoji": Artist("twemoji", "package/img/twitter/64", ".png", "CC-BY-4.0"),
    "openmoji": Artist("openmoji", "package/color/svg", ".svg", "CC-BY-SA-4.0"),
}


@dataclass(frozen=True)
class Concept:
    """One emoji: ``key`` is its lower-case hex code points joined by ``-``, without fe0f.

    ``names`` maps a language to the CLDR short name, ``keywords`` are English, ``subgroup`` is OpenMoji's.
    """

    key: str
    names: Mapping[str, str]
    keywords: tuple[str, ...]
    subgroup: str

    @property
    def group(self) -> str:
        """Leakage group, from the English name."""
        return concept_group(self.names["en"])

    @property
    def split(self) -> Split:
        """Split of the group."""
        return split_of(self.group)


def key_of(emoji: str) -> str:
    """Join key of an emoji: hex code points, fe0f dropped because the packages disagree about it."""
    return "-".join(f"{ord(c):x}" for c in emoji if ord(c) != 0xFE0F)


@lru_cache(maxsize=1)
def concepts(cache: Path) -> tuple[Concept, ...]:
    """All concepts without skin tone that have an English name and a drawing by each artist, in key order."""
    by_language = {language: _annotations(cache, language) for language in LANGUAGES}
    subgroups = _subgroups(cache)
    drawn = frozenset.intersection(*(frozenset(picture_paths(cache, artist)) for artist in ARTISTS))
    found = []
    for key in sorted(drawn & by_language["en"].keys()):
        if SKIN_TONES & set(key.split("-")):
            continue
        entries = {language: entry[key] for language, entry in by_language.items() if key in entry}
        names = {language: " ".join(entry["tts"][0].split()) for language, entry in entries.items() if entry.get("tts")}
        if "en" in names:
            words = tuple(w for w in by_language["en"][key].get("default", ()) if w.lower() != names["en"].lower())
            found.append(Concept(key, names, words, subgroups.get(key, "")))
    return tuple(found)


def objects(cache: Path) -> tuple[Concept, ...]:
    """Concepts that show one nameable thing, one for each leakage group."""
    by_group: dict[str, Concept] = {}
    for concept in concepts(cache):
        if concept.subgroup in OBJECT_SUBGROUPS and len(concept.names["en"]) <= 24:
            by_group.setdefault(concept.group, concept)
    return tuple(by_group[group] for group in sorted(by_group))


@lru_cache(maxsize=8)
def picture_paths(cache: Path, artist: str) -> Mapping[str, Path]:
    """Drawings of an artist by concept key."""
    spec = ARTISTS[artist]
    folder = unpack(spec.package, cache) / spec.folder
    files = sorted(folder.glob(f"*{spec.suffix}"))
    return {"-".join(c for c in f.stem.lower().split("-") if c != "fe0f"): f for f in files}


def picture(cache: Path, artist: str, concept: Concept, size: int = PICTURE_SIZE) -> Image.Image:
    """Drawing of a concept as RGBA with at most ``size`` pixels on the long side."""
    return load_picture(picture_paths(cache, artist)[concept.key], size)


def _annotations(cache: Path, language: str) -> dict[str, dict[str, list[str]]]:
    merged: dict[str, dict[str, list[str]]] = {}
    for package, top in (("cldr-derived", "annotationsDerived"), ("cldr-names", "annotations")):
        path = unpack(package, cache) / "package" / top / language / "annotations.json"
        entries = json.loads(path.read_text(encoding="utf-8"))[top]["annotations"]
        merged |= {key_of(emoji): entry for emoji, entry in entries.items()}
    return merged


def _subgroups(cache: Path) -> dict[str, str]:
    path = unpack("openmoji", cache) / "package/data/openmoji.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    return {key_of(row["emoji"]): row["subgroups"] for row in rows}

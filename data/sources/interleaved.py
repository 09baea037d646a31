"""Interleaved queries: a picture plus a text that changes its meaning -> the picture that is meant.

``composed_to_image`` in three kinds, named in the record id: ``add`` (another object stands beside it), ``swap``
(man, woman or person doing the same) and ``transform`` (the same drawing mirrored, turned, ...). The negatives are
wrong in one half: the right picture with another text, or the right text on another picture. A and B of ``add`` come
from one split.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image, ImageOps

from data.records import PartRef, Split
from data.sources.concepts import ARTISTS, Concept, concepts, objects, picture
from data.sources.draft import Draft, order_key, text_part
from data.sources.media import encode_webp, over
from model.content import Modality

SIDE = 64
ARTIST_CHOICE = ("noto", "twemoji")
ADD_OBJECTS = 320
TRANSFORM_OBJECTS = 130
LANGUAGES = ("en", "de", "fr", "es")
ADD_TEXTS: Mapping[str, str] = {
    "en": "together with: {}",
    "de": "zusammen mit: {}",
    "fr": "avec : {}",
    "es": "junto con: {}",
}
PERSON_TEXTS: Mapping[str, str] = {"man": "the same, but a man", "woman": "the same, but a woman"}
TRANSFORMS: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "on its side": lambda p: p.transpose(Image.Transpose.ROTATE_90),
    "in grey": lambda p: ImageOps.grayscale(p).convert("RGB"),
    "as a negative": ImageOps.invert,
    "twice": lambda p: beside(p, p),
}
_TRANSFORM_NAMES: Mapping[str, tuple[str, ...]] = {
    "en": tuple(TRANSFORMS),
    "de": ("gespiegelt", "auf dem Kopf", "auf der Seite", "in Grau", "als Negativ", "zweimal"),
    "fr": ("en miroir", "à l'envers", "sur le côté", "en gris", "en négatif", "deux fois"),
    "es": ("reflejado", "boca abajo", "de lado", "en gris", "en negativo", "dos veces"),
}
TRANSFORM_TEXTS: Mapping[str, Mapping[str, str]] = {
    language: dict(zip(TRANSFORMS, names, strict=True)) for language, names in _TRANSFORM_NAMES.items()
}
# Mean difference of 0..255 below which a transform leaves a drawing (a ball mirrored) practically as it was.
VISIBLE_CHANGE = 12.0


def build(cache: Path) -> Draft:
    """Build the shard ``interleaved``."""
    licenses = sorted({ARTISTS[artist].license for artist in ARTIST_CHOICE} | {"Unicode-3.0"})
    draft = Draft("interleaved", license=" AND ".join(licenses))
    things = sorted(objects(cache), key=lambda c: order_key("interleaved", c.key))
    for artist_index, artist in enumerate(ARTIST_CHOICE):
        for split in get_args(Split):
            chosen = [c for c in things[:ADD_OBJECTS] if c.split == split][artist_index :: len(ARTIST_CHOICE)]
            _add(draft, cache, artist, chosen)
        _swap(draft, cache, artist)
        _transform(draft, cache, artist, things[artist_index : TRANSFORM_OBJECTS : len(ARTIST_CHOICE)])
    return draft


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures side by side on white."""
    canvas = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "white")
    canvas.paste(left, (0, 0))
    canvas.paste(right, (left.width, 0))
    return canvas


def _drawing(cache: Path, artist: str, concept: Concept) -> Image.Image:
    return over(picture(cache, artist, concept, SIDE))


def _ordered(picture_part: PartRef, text: str, record_id: str) -> Sequence[PartRef]:
    """Picture first in two of three queries, text first in the others."""
    parts = (picture_part, text_part(text))
    return parts[::-1] if int(order_key("order", record_id)[:6], 16) % 3 == 0 else parts


def _language(record_id: str) -> str:
    """English for half of the records, the others evenly."""
    draw = int(order_key("language", record_id)[:6], 16) % 6
    return LANGUAGES[max(0, draw - 2)]


def _add(draft: Draft, cache: Path, artist: str, ring: Sequence[Concept]) -> None:
    """Pair each object of a ring with its next and its third next: then each wrong half is another pair's picture."""
    steps = (1, 3)
    count = len(ring)
    if count <= sum(steps) + 1:
        return
    pictures = [_drawing(cache, artist, concept) for concept in ring]
    singles = [draft.add_media(Modality.IMAGE, encode_webp(p)) for p in pictures]
    pairs = {
        (i, step): draft.add_media(Modality.IMAGE, encode_webp(beside(p, pictures[(i + step) % count])))
        for i, p in enumerate(pictures)
        for step in steps
    }
    for i, concept in enumerate(ring):
        for step, other_step in zip(steps, reversed(steps), strict=True):
            added = ring[(i + step) % count]
            record_id = f"add/{artist}/{concept.key}/{added.key}"
            language = _language(record_id)
            same_added_other_first = pairs[(i + step - other_step) % count, other_step]
            draft.add(
                record_id,
                "composed_to_image",
                _ordered(singles[i], ADD_TEXTS[language].format(added.names[language]), record_id),
                [pairs[i, step]],
                group=concept.group,
                languages=[language],
                negatives=[[pairs[i, other_step]], [same_added_other_first]],
            )


def _swap(draft: Draft, cache: Path, artist: str) -> None:
    """Man, woman or person X + "a woman" -> woman X; wrong: unchanged, and the woman of the next X of the split."""
    families: dict[str, dict[str, Concept]] = {}
    for concept in concepts(cache):
        who, _, activity = concept.names["en"].replace(":", "").partition(" ")
        if who in ("man", "woman", "person") and activity:
            families.setdefault(activity, {})[who] = concept
    for split in get_args(Split):
        names = [a for a, f in sorted(families.items()) if {"man", "woman"} <= f.keys() and f["man"].split == split]
        for position, activity in enumerate(names):
            family, other = families[activity], families[names[(position + 1) % len(names)]]
            for shown in family:
                for wanted, text in PERSON_TEXTS.items():
                    # Each artist gets one of the two directions of a pair and every second way from "person".
                    turn = (position + ARTIST_CHOICE.index(artist) + (wanted == "man")) % 2
                    if shown != wanted and turn == 0:
                        _swap_pair(draft, cache, artist, (family[shown], family[wanted], other[wanted]), text)


def _swap_pair(draft: Draft, cache: Path, artist: str, trio: tuple[Concept, Concept, Concept], text: str) -> None:
    shown, wanted, other = trio
    parts = [draft.add_media(Modality.IMAGE, encode_webp(_drawing(cache, artist, concept))) for concept in trio]
    record_id = f"swap/{artist}/{shown.key}/{wanted.key}"
    negatives = [[parts[0]]] if other.key == wanted.key else [[parts[0]], [parts[2]]]
    draft.add(
        record_id,
        "composed_to_image",
        _ordered(parts[0], text, record_id),
        [parts[1]],
        group=wanted.group,
        languages=["en"],
        negatives=negatives,
    )


def _transform(draft: Draft, cache: Path, artist: str, chosen: Sequence[Concept]) -> None:
    """A drawing + the name of a transform; wrong: two other transforms of the same drawing."""
    for concept in chosen:
        original = _drawing(cache, artist, concept)
        shown = draft.add_media(Modality.IMAGE, encode_webp(original))
        changed = _distinct(original)
        names = list(changed)
        parts = {name: draft.add_media(Modality.IMAGE, encode_webp(p)) for name, p in changed.items()}
        for position, name in enumerate(names):
            record_id = f"transform/{artist}/{concept.key}/{name.replace(' ', '-')}"
            language = _language(record_id)
            draft.add(
                record_id,
                "composed_to_image",
                _ordered(shown, TRANSFORM_TEXTS[language][name], record_id),
                [parts[name]],
                group=concept.group,
                languages=[language],
                negatives=[[parts[names[(position + k) % len(names)]]] for k in (1, 2) if k < len(names)],
            )


def _distinct(original: Image.Image) -> dict[str, Image.Image]:
    """Transforms that change the drawing, each in another way (a ball turned or mirrored is the same ball)."""
    kept: dict[str, Image.Image] = {}
    for name, change in TRANSFORMS.items():
        changed = change(original)
        if all(_differs(other, changed) for other in (original, *kept.values())):
            kept[name] = changed
    return kept


def _differs(original: Image.Image, changed: Image.Image) -> bool:
    if original.size != changed.size:
        return True
    difference = np.asarray(original, np.float32) - np.asarray(changed, np.float32)
    return float(np.abs(difference).mean()) > VISIBLE_CHANGE

"""Synthetic motion clips: one drawn object and one of nine motions, told apart only by temporal order or extent.

Objects of the validation and test splits make every motion. Those of the training split make four or so: the bytes
go into more objects instead, because what an unseen object looks like is harder to learn than nine motions.

``text_to_video``: caption -> clip, with the clip of the opposite motion of the same object as negative. The record
id is ``motion/<concept>/<motion>/<language>``: evaluation reads the object (the concept's code points) and the motion
(a key of ``MOTIONS``) from it. An object keeps its drawing, background and path from motion to motion, so a single
frame of "left" may well be a frame of "right". Shape legend: T frames, H height, W width, 3 RGB.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from data.records import SPLITS, Split
from data.sources.concepts import ARTISTS, Concept, objects, picture
from data.sources.draft import Draft, order_key, text_part
from data.sources.media import crop_to_content, encode_mp4
from data.splits import split_of
from model.content import Modality

ARTIST_CHOICE = ("noto", "twemoji")
OBJECT_COUNTS: Mapping[Split, int] = {"train": 320, "validation": 16, "test": 26}
LONGEST_NAME = 14
SIDE = 112
FRAMES = 16
FRAMES_PER_SECOND = 8
BACKGROUNDS = (
    "#dbe9f6", "#f6e7d2", "#e3f1dc", "#efe0f0", "#f4f4f4", "#fbf3c4", "#d5ecec", "#f3d9d9", "#c9d3e3", "#40485a",
)  # fmt: skip

# (x, y, scale, alpha) at time t in 0..1; x and y in -1..1 of the room that the object leaves.
Motion = Callable[[float], tuple[float, float, float, float]]
MOTIONS: Mapping[str, Motion] = {
    "left": lambda t: (1 - 2 * t, 0.0, 1.0, 1.0),
    "right": lambda t: (2 * t - 1, 0.0, 1.0, 1.0),
    "up": lambda t: (0.0, 1 - 2 * t, 1.0, 1.0),
    "down": lambda t: (0.0, 2 * t - 1, 1.0, 1.0),
    "grow": lambda t: (0.0, 0.0, 0.45 + 0.95 * t, 1.0),
    "shrink": lambda t: (0.0, 0.0, 1.4 - 0.95 * t, 1.0),
    "appear": lambda t: (0.0, 0.0, 1.0, min(1.0, 2 * t)),
    "disappear": lambda t: (0.0, 0.0, 1.0, min(1.0, 2 * (1 - t))),
    "jump": lambda t: (0.0, 1 - 8 * t * (1 - t), 1.0, 1.0),
}
OPPOSITE: Mapping[str, str] = {
    "left": "right",
    "right": "left",
    "up": "down",
    "down": "up",
    "grow": "shrink",
    "shrink": "grow",
    "appear": "disappear",
    "disappear": "appear",
    "jump": "up",
}
FAMILIES = (("left", "right"), ("up", "down", "jump"), ("grow", "shrink"), ("appear", "disappear"))
_VERBS: Mapping[str, tuple[str, ...]] = {
    "en": (
        "moves to the left",
        "moves to the right",
        "moves up",
        "moves down",
        "grows",
        "shrinks",
        "appears",
        "disappears",
        "jumps up and comes down",
    ),
    "de": (
        "bewegt sich nach links",
        "bewegt sich nach rechts",
        "bewegt sich nach oben",
        "bewegt sich nach unten",
        "wird größer",
        "wird kleiner",
        "erscheint",
        "verschwindet",
        "springt hoch und kommt wieder herunter",
    ),
    "fr": (
        "se déplace vers la gauche",
        "se déplace vers la droite",
        "se déplace vers le haut",
        "se déplace vers le bas",
        "grandit",
        "rétrécit",
        "apparaît",
        "disparaît",
        "saute et retombe",
    ),
    "es": (
        "se mueve hacia la izquierda",
        "se mueve hacia la derecha",
        "se mueve hacia arriba",
        "se mueve hacia abajo",
        "crece",
        "se encoge",
        "aparece",
        "desaparece",
        "salta y vuelve a bajar",
    ),
}
CAPTIONS: Mapping[str, Mapping[str, str]] = {
    language: dict(zip(MOTIONS, verbs, strict=True)) for language, verbs in _VERBS.items()
}


def build(cache: Path) -> Draft:
    """Build the shard ``motion``."""
    licenses = sorted({ARTISTS[artist].license for artist in ARTIST_CHOICE} | {"Unicode-3.0"})
    draft = Draft("motion", license=" AND ".join(licenses))
    for concept in moving_objects(cache):
        motions = motions_of(concept)
        clips = {
            motion: draft.add_media(Modality.VIDEO, encode_mp4(clip(cache, concept, motion), FRAMES_PER_SECOND))
            for motion in motions
        }
        for motion in motions:
            for language, captions in CAPTIONS.items():
                draft.add(
                    f"{concept.key}/{motion}/{language}",
                    "text_to_video",
                    [text_part(f"{concept.names[language]}: {captions[motion]}")],
                    [clips[motion]],
                    group=concept.group,
                    languages=[language],
                    negatives=[[clips[OPPOSITE[motion]]]],
                )
    return draft


def moving_objects(cache: Path) -> list[Concept]:
    """The objects that move: those with a short name, in a fixed order that mixes kinds."""
    short = [c for c in objects(cache) if len(c.names["en"]) <= LONGEST_NAME and CAPTIONS.keys() <= c.names.keys()]
    mixed = sorted(short, key=lambda c: order_key("motion", c.key))
    by_split = {split: [c for c in mixed if split_of(c.group) == split] for split in SPLITS}
    return [concept for split, count in OBJECT_COUNTS.items() for concept in by_split[split][:count]]


def motions_of(concept: Concept) -> tuple[str, ...]:
    """The motions of one object, each with its opposite: all when it is held out, two families when it trains."""
    if split_of(concept.group) != "train":
        return tuple(MOTIONS)
    first = int(order_key("motions", concept.key)[:8], 16)
    return tuple(motion for step in (0, 1) for motion in FAMILIES[(first + step) % len(FAMILIES)])


def clip(cache: Path, concept: Concept, motion: str) -> npt.NDArray[np.uint8]:
    """Frames ``THW3`` of one object doing one motion."""
    seed = int(order_key("look", concept.key)[:12], 16)
    artist = ARTIST_CHOICE[seed % 2]
    drawing = crop_to_content(picture(cache, artist, concept))
    side = 54 + seed // 2 % 10
    background = BACKGROUNDS[seed // 20 % len(BACKGROUNDS)]
    shift = (seed // 200 % 17 - 8, seed // 3400 % 17 - 8)
    times = [frame / (FRAMES - 1) for frame in range(FRAMES)]
    return np.stack([_frame(drawing, background, side, shift, MOTIONS[motion](t)) for t in times])


def _frame(
    drawing: Image.Image, background: str, side: int, shift: tuple[int, int], state: tuple[float, float, float, float]
) -> npt.NDArray[np.uint8]:
    x, y, scale, alpha = state
    ratio = side * scale / max(drawing.size)
    size = (max(1, round(drawing.width * ratio)), max(1, round(drawing.height * ratio)))
    sprite = drawing.resize(size, Image.Resampling.BICUBIC)
    if alpha < 1:
        sprite.putalpha(sprite.getchannel("A").point(lambda a: round(a * alpha)))
    centre = SIDE / 2
    room = centre - side / 2 - 2
    # The object stands off centre across its path, but never leaves the picture.
    cx = centre + room * x + (shift[0] if x == 0 else 0)
    cy = centre + room * y + (shift[1] if y == 0 else 0)
    canvas = Image.new("RGBA", (SIDE, SIDE), background)
    canvas.alpha_composite(sprite, _inside(cx, cy, size))
    return np.asarray(canvas.convert("RGB"))


def _inside(cx: float, cy: float, size: tuple[int, int]) -> tuple[int, int]:
    left, top = (min(max(0, round(c - s / 2)), SIDE - s) for c, s in ((cx, size[0]), (cy, size[1])))
    return left, top

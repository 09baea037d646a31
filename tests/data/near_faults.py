"""Near-duplicates planted among good rows and faults: records that validation accepts and that the audit must find.

Each is a pair: an original that stays, and an altered copy of it in another group, of the same split or of a lower one.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from data.splits import split_of
from tests.data.audit.planting import clip, clips, document, documents, drawing, encoded, melody, sound
from tests.data.faults import Medium, Row, part, record, stored, text

KEEPER = "The old lighthouse keeper climbed the stairs each evening to light the lamp, and {} down the weather, ships"
FARMERS = "the farmers of the valley carried their apples to the cellar{} covered them with straw{} and closed the door"
STORIES = {
    "edited": (
        f"{KEEPER.format('wrote')} that had passed and the number of gulls on the rail.",
        f"{KEEPER.format('noted')} that had passed and the number of gulls on the rail!",
    ),
    "typography": (
        f"Before the winter came, {FARMERS.format(',', '')} until the snow had melted in spring.",
        f"BEFORE THE WINTER CAME --  {FARMERS.format(';', ',')}  until the snow had melted; in spring",
    ),
}
# Records that resemble these as any two do: nobody may take them for copies.
OTHERS = (
    "The young baker opened the shop every morning to bake the bread, and told the children about the sea and ships.",
    "After the summer had gone, the fishermen of the island mended their nets on the beach until the storms were over.",
)


class Near(NamedTuple):
    """A planted near-duplicate.

    Attributes:
        kept: the record that stays.
        copy: the one that has to be set aside.
        reason: why.
        media: of both.
    """

    kept: Row
    copy: Row
    reason: str
    media: tuple[Medium, ...] = ()


def group_in(split: str, name: str) -> str:
    """A group that falls in a split."""
    return next(group for i in range(1000) if split_of(group := f"{name} {i}") == split)


def _row(name: str, split: str, task: str, query: list[Row], positive: list[Row]) -> Row:
    group = group_in(split, name)
    row = {**record(0), "id": f"things/{name}", "group": group, "split": split, "task": task}
    return {**row, "query": query, "positives": [positive]}


TASKS = {"image": "text_to_image", "audio": "reading", "video": "text_to_video", "document": "reading"}


def _media(name: str, kind: str, original: bytes, altered: bytes, splits: tuple[str, str]) -> Near:
    """Splits of the record that stays and of its copy."""
    sides = (stored(kind, original), stored(kind, altered))
    rows = [
        _row(f"{name} {side}", split, TASKS[kind], [text(f"the {side} {name}")], [part(medium)])
        for side, split, medium in zip(("first", "second"), splits, sides, strict=True)
    ]
    what = "duplicate" if splits[0] == splits[1] else "leak"
    return Near(*rows, f"{what}_{kind}", sides)


def _texts(name: str, splits: tuple[str, str]) -> Near:
    rows = [
        _row(f"{name} {side}", split, "reading", [text(f"the {side} story")], [text(said)])
        for side, split, said in zip(("first", "second"), splits, STORIES[name], strict=True)
    ]
    return Near(*rows, f"{'duplicate' if splits[0] == splits[1] else 'leak'}_text")


def _mixture(splits: tuple[str, str]) -> Near:
    """A picture of few shapes with a label, whose whole is alike: of another label it is another content."""
    sides = (
        stored("image", encoded(drawing(60))),
        stored("image", encoded(drawing(60), "WEBP", quality=60)),
    )
    rows = [
        _row(f"mixture {side}", split, "text_to_image", [text("in blue"), part(medium)], [part(own)])
        for side, split, medium, own in zip(
            ("first", "second"), splits, sides, [stored("image", encoded(drawing(n))) for n in (61, 62)], strict=True
        )
    ]
    own = tuple(stored("image", encoded(drawing(n))) for n in (61, 62))
    return Near(*rows, "leak_image", (*sides, *own))


def _pair(splits: tuple[str, str]) -> Near:
    """Two labels, each of which others share by right, that together are one record twice."""
    rows = [
        _row(f"pair {side}", split, "reading", [text(query)], [text(answer)])
        for side, split, query, answer in zip(
            ("first", "second"), splits, ("Save as", "SAVE AS"), ("keep a copy", "Keep a copy…"), strict=True
        )
    ]
    return Near(*rows, "leak_pair")


WITHIN, ACROSS, VALIDATION = ("train", "train"), ("test", "train"), ("validation", "train")
SAID = melody(70)


def near_faults() -> dict[str, Near]:
    """All of them by name; no two are of one original."""
    picture = [drawing(seed) for seed in range(50, 56)]
    small = picture[1].resize((64, 64), Image.Resampling.LANCZOS)
    quiet, late = melody(71), melody(72)
    return {
        "picture encoded anew, in test": _media(
            "photo", "image", encoded(picture[0]), encoded(picture[0], "JPEG", quality=60), ACROSS
        ),
        "picture made small, in train": _media("thumb", "image", encoded(picture[1]), encoded(small), WITHIN),
        "picture cropped, in validation": _media(
            "crop", "image", encoded(picture[2]), encoded(picture[2].crop((2, 2, 118, 118))), VALIDATION
        ),
        "picture byte for byte, in train": _media("twin", "image", encoded(picture[3]), encoded(picture[3]), WITHIN),
        "sound at another volume, in test": _media("quiet", "audio", sound(quiet), sound(quiet * 0.3), ACROSS),
        "sound that begins later, in train": _media(
            "late", "audio", sound(late), sound(np.concatenate([np.zeros(1200, np.float32), late])), WITHIN
        ),
        "sound as Opus, in validation": _media("opus", "audio", sound(SAID), sound(SAID, "OGG", "OPUS"), VALIDATION),
        "clip made small, in test": _media("clip", "video", clip(80), clips(80)["small"], ACROSS),
        "clip of a poor rate, in train": _media("poor", "video", clip(81), clips(81)["poor"], WITHIN),
        "pages saved anew, in test": _media("pages", "document", document(90), documents(90)["packed"], ACROSS),
        "text with small edits, in test": _texts("edited", ACROSS),
        "text with other typography, in train": _texts("typography", WITHIN),
        "picture of a mixture encoded anew, in test": _mixture(ACROSS),
        "two labels that are one record, in test": _pair(ACROSS),
    }


def others() -> tuple[list[Row], list[Medium]]:
    """Good records of every modality, in every split, that share nothing but labels."""
    rows: list[Row] = []
    media: list[Medium] = []
    for number in range(40):
        medium = stored("image", encoded(drawing(200 + number)))
        media.append(medium)
        rows.append({**record(3_000 + number), "query": [text("a drawing")], "positives": [[part(medium)]]})
    for number in range(6):
        for kind, data in (("audio", sound(melody(300 + number))), ("video", clip(300 + number))):
            medium = stored(kind, data)
            media.append(medium)
            row = record(4_000 + len(rows))
            rows.append({**row, "task": TASKS[kind], "query": [text("listen, look")], "positives": [[part(medium)]]})
    for number, said in enumerate(OTHERS):
        rows.append({**record(5_000 + number), "task": "reading", "positives": [[text(said)]]})
    drawn = stored("image", encoded(drawing(199)))
    # A fault claims its group for another split.
    rows.append({**record(1), "query": [text("a drawing")], "positives": [[part(drawn)]]})
    media.append(drawn)
    # One group may repeat itself within its split.
    again = {**rows[0], "id": "things/again", "query": [text("the same drawing")]}
    return [*rows, again], media

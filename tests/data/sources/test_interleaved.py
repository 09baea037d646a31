import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from data.sources import interleaved
from data.sources.concepts import Concept
from data.sources.draft import Draft
from data.splits import split_of
from model.content import Modality

CACHE = Path("unused")


def _concept(index: int, name: str) -> Concept:
    return Concept(f"1f{index:03x}", dict.fromkeys(interleaved.LANGUAGES, name), (), "tool")


THINGS = tuple(_concept(i, f"thing {i}") for i in range(60))
PEOPLE = tuple(
    _concept(100 + 3 * i + j, f"{who} task{i}") for i in range(30) for j, who in enumerate(("man", "woman", "person"))
)


@pytest.fixture(scope="module")
def draft() -> Iterator[Draft]:
    def picture(cache: Path, artist: str, concept: Concept, size: int) -> Image.Image:
        value = int(concept.key, 16)
        drawing = Image.new("RGBA", (size, size), (value % 251, 60, 200, 255))
        drawing.paste((value * 7 % 251, 255, 0, 255), (0, 0, 8 + value % 40, 20))
        return drawing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interleaved, "picture", picture)
        patch.setattr(interleaved, "objects", lambda cache: THINGS)
        patch.setattr(interleaved, "concepts", lambda cache: PEOPLE)
        yield interleaved.build(CACHE)


def test_each_query_has_one_picture_and_one_text_in_both_orders(draft: Draft) -> None:
    orders = {tuple(part.modality for part in record.query) for record in draft.records.values()}
    assert orders == {(Modality.IMAGE, Modality.TEXT), (Modality.TEXT, Modality.IMAGE)}


def test_negatives_are_wrong_pictures_and_positives_differ_from_the_query(draft: Draft) -> None:
    kinds = set()
    for record in draft.records.values():
        kinds.add(record.id.split("/")[1])
        assert record.negatives
        assert record.positives[0] not in record.negatives
        assert record.positives[0][0] not in record.query
    assert kinds == {"add", "swap", "transform"}


def test_added_objects_come_from_the_same_split(draft: Draft) -> None:
    split_by_key = {c.key: c.split for c in THINGS}
    added = [r for r in draft.records.values() if r.id.startswith("interleaved/add/")]
    assert added
    for record in added:
        _, _, _, first, second = record.id.split("/")
        assert split_by_key[first] == split_by_key[second] == record.split == split_of(record.group)


def test_added_negatives_are_wrong_in_one_half(draft: Draft) -> None:
    def halves(digest: str | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        assert digest is not None
        both = Image.open(io.BytesIO(draft.media[digest][1]))
        return both.getpixel((40, 60)), both.getpixel((104, 60))

    def alike(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        return max(abs(x - y) for x, y in zip(a, b, strict=True)) <= 1

    record = next(r for r in draft.records.values() if r.id.startswith("interleaved/add/"))
    left, right = halves(record.positives[0][0].media)
    (other_text_left, _), (_, other_picture_right) = (halves(n[0].media) for n in record.negatives)
    assert alike(left, other_text_left)
    assert alike(right, other_picture_right)


def test_transforms_that_look_alike_are_kept_once() -> None:
    plain = Image.new("RGB", (64, 64), "white")
    assert list(interleaved._distinct(plain)) == ["as a negative", "twice"]
    corner = plain.copy()
    corner.paste((200, 0, 0), (0, 0, 40, 20))
    assert list(interleaved._distinct(corner)) == list(interleaved.TRANSFORMS)

"""A picture that was saved anew is no negative, even where the model sees no likeness."""

from dataclasses import replace

import numpy as np

from data.mining.alter import altered
from data.mining.config import MineTask, Rules
from data.mining.knowledge import Knowledge
from data.mining.looks import Looks, of_content
from data.mining.miner import Miner
from data.mining.pool import pool_of
from data.records import ContentRef, PartRef, Record
from model.content import Content, Modality, Part, image, media_digest, text
from tests.data.mining.toy import TASK, record, unit


def drawing(seed: int) -> bytes:
    """A few rectangles: noise has no looks of its own."""
    import io

    from PIL import Image, ImageDraw

    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (160, 160), "white")
    pen = ImageDraw.Draw(picture)
    for _ in range(6):
        left, top = rng.integers(0, 110, 2).tolist()
        wide, high = rng.integers(20, 50, 2).tolist()
        pen.rectangle((left, top, left + wide, top + high), fill=tuple(rng.integers(0, 200, 3).tolist()))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def corpus() -> tuple[list[Record], dict[str, bytes]]:
    """Ten pictures; the eleventh is the first one saved anew, of another record and group."""
    files = [drawing(i) for i in range(10)]
    again = altered(Content((image(files[0]),)))
    assert again is not None
    files.append(again.parts[0].data or b"")
    media = {media_digest(data): data for data in files}
    rows = [
        replace(record(str(i), f"q{i}", []), positives=((PartRef(Modality.IMAGE, media=digest),),))
        for i, digest in enumerate(media)
    ]
    return rows, media


def mined(bits: int | None) -> tuple[set[int], Miner]:
    """Pictures that the first query may get, by number."""
    rows, media = corpus()

    def resolve(_: Record, ref: ContentRef) -> Content:
        return Content(tuple(Part(p.modality, data=media[p.media or ""]) for p in ref))

    rules = Rules(ratio=None, near=None, alike=bits, last_rank=20)
    known = Knowledge(rows)
    vectors = unit(np.random.default_rng(0).standard_normal((2, len(rows), 8)))
    pool = pool_of(MineTask(name=TASK), rows, known).with_vectors(*vectors)
    looks = None if bits is None else Looks(resolve, bits)
    miner = Miner(pool, known, rules, exact_below=100, looks=looks)
    return set(miner()[0].places_K.tolist()), miner


def test_a_picture_that_looks_like_a_positive_is_refused() -> None:
    allowed, miner = mined(6)
    assert allowed == set(range(1, 10))
    assert miner.verdicts["alike"] == 2, "of both records"
    assert mined(None)[0] == set(range(1, 11)), "without the rule it is taken"


def test_texts_flat_and_broken_pictures_have_no_looks() -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), "white").save(buffer, "PNG")
    content = Content((text("words"), image(buffer.getvalue()), image(b"no picture")))
    assert of_content(content) == ()
    assert not Looks(lambda *_: content, 64).alike((), [(1,)])

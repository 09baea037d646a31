"""Media that are alike: candidates decoded and laid over each other.

Shape legend: S x S pixels, 3 colours.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.access import MediaAccess
from data.audit.candidates import candidates
from data.audit.edges import Edges
from data.audit.identities import Identities
from data.audit.items import Items
from data.audit.looks import picture_distance
from data.audit.rules import AuditRules, MediaRules
from data.audit.sounds import Spectra, sound_distance, spectra
from data.fingerprints.text import normal_text, shingles, similarity_word
from data.probes import PICTURE_SIZE, VIDEO_FRAMES
from model.encoder import Limits
from model.errors import ContentError
from model.progress import progress

# Media are compared square by square of the table of all, so that what is decoded is used before it is forgotten.
SQUARE = {"image": 256, "audio": 256, "video": 256, "document": 64}
# Pages of text without a text layer are told apart by their lines, which are lost at the size of pictures.
PAGE_SIZE = 2 * PICTURE_SIZE
# Share of the pages of the longer document that must be found in the other, in order.
LEAST_PAGES = 0.8
APART = float("inf")
# Least Jaccard index of the pairs of words of two pages that are the same, as of texts. Forms that are filled in share
# most words and the similarity hash; what is saved anew keeps nearly all pairs.
LEAST_WORDS = 0.7


class Page(NamedTuple):
    """Pixels, and similarity hash and pairs of words of the text; 0 and none without text."""

    pixels_SS3: NDArray[np.uint8] | None
    word: int
    pairs: frozenset[str]


Compare = Callable[[Any, Any, MediaRules], float]


def near_media(kind: str, found: Identities, items: Items, homes: dict[int, Path], rules: AuditRules) -> Edges:
    """Pairs of media of one kind that are alike, with their distance in the unit of the kind (see ``MediaRules``).

    Args:
        kind: image, audio, video or document.
        found: their identities.
        items: of the corpus.
        homes: a shard that holds each medium.
        rules: how near is alike.
    """
    pairs, left_out = candidates(kind, found, items.splits[found.item], rules.media)
    pairs = pairs[items.between_places(found.item[pairs[:, 0]], found.item[pairs[:, 1]])]
    pairs = pairs[np.lexsort((*pairs.T[::-1], *(pairs.T[::-1] // SQUARE[kind])))]
    access, decode, compare = MediaAccess(), _DECODERS[kind], _COMPARE[kind]

    @lru_cache(maxsize=2 * SQUARE[kind])
    def decoded(place: int) -> Any:
        item = int(found.item[place])
        try:
            return decode(access(homes[item], items.media[item]), rules.limits)
        except (ContentError, KeyError):  # probed well, but under other limits or by another decoder
            return None

    edges = []
    for a, b in progress(pairs.tolist(), desc=f"{kind} candidates", unit="pair"):
        first, second = decoded(a), decoded(b)
        if first is None or second is None:
            continue
        distance = compare(first, second, rules.media)
        if distance < APART:
            edges.append((int(found.item[a]), int(found.item[b]), distance))
    return replace(Edges.of(edges), left_out=left_out)


def compare_pictures(a: NDArray[np.uint8], b: NDArray[np.uint8], rules: MediaRules) -> float:
    """Greatest local difference, or infinity when that is too much."""
    distance = picture_distance(a, b)
    return distance if distance <= rules.picture else APART


def compare_clips(a: Sequence[NDArray[np.uint8]], b: Sequence[NDArray[np.uint8]], rules: MediaRules) -> float:
    """The worst of the frames, which must be as many and in the same order."""
    if len(a) != len(b):
        return APART
    worst = 0.0
    for one, other in zip(a, b, strict=True):
        worst = max(worst, compare_pictures(one, other, rules))
        if worst == APART:
            break
    return worst


def compare_sounds(a: Spectra, b: Spectra, rules: MediaRules) -> float:
    """Mean difference at the best shift."""
    distance = sound_distance(a, b)
    return distance if distance <= rules.sound else APART


def compare_documents(a: Sequence[Page], b: Sequence[Page], rules: MediaRules) -> float:
    """Share of the pages of the longer one that are not found in the other, in order."""
    matched, at = 0, 0
    short, long = sorted((a, b), key=len)
    for page in short:
        place = next((p for p in range(at, len(long)) if _same_page(page, long[p], rules)), None)
        if place is not None:
            matched, at = matched + 1, place + 1
    return 1 - matched / len(long) if matched >= LEAST_PAGES * len(long) else APART


def _same_page(a: Page, b: Page, rules: MediaRules) -> bool:
    """By text where both have some, else by looks."""
    if a.word and b.word:
        near = (a.word ^ b.word).bit_count() <= rules.page_bits
        return near and len(a.pairs & b.pairs) >= LEAST_WORDS * len(a.pairs | b.pairs)
    if a.pixels_SS3 is None or b.pixels_SS3 is None:
        return False
    return picture_distance(a.pixels_SS3, b.pixels_SS3) <= rules.picture


def _image(data: bytes, limits: Limits) -> NDArray[np.uint8]:
    from model.media.image import decode_image

    return decode_image(data, limits, size=PICTURE_SIZE)


def _video(data: bytes, limits: Limits) -> list[NDArray[np.uint8]]:
    from model.media.video import decode_video

    return list(decode_video(data, limits, size=PICTURE_SIZE, max_frames=VIDEO_FRAMES).frames_FSS3)


def _audio(data: bytes, limits: Limits) -> Spectra:
    from model.media.audio import decode_audio

    return spectra(decode_audio(data, limits))


def _document(data: bytes, limits: Limits) -> list[Page]:
    from model.media.document import decode_document

    pages = decode_document(data, limits, size=PAGE_SIZE, text=True)
    pairs = (frozenset(shingles(normal_text(page.text))) for page in pages)
    return [Page(page.pixels_SS3, similarity_word(page.text), own) for page, own in zip(pages, pairs, strict=True)]


_DECODERS: dict[str, Callable[[bytes, Limits], Any]] = {
    "image": _image,
    "audio": _audio,
    "video": _video,
    "document": _document,
}
_COMPARE: dict[str, Compare] = {
    "image": compare_pictures,
    "audio": compare_sounds,
    "video": compare_clips,
    "document": compare_documents,
}

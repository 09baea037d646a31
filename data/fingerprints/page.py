"""Pages of documents: how they look, and a similarity hash of their text."""

from collections.abc import Iterable

import numpy as np

from data.fingerprints.picture import picture_hashes
from data.fingerprints.text import similarity_word
from model.media.document import Page


def page_hashes(pages: Iterable[Page]) -> tuple[int, ...]:
    """Identity of a document: of each page in order its looks (0 when not drawn), its text (0 without), a thumbnail.

    Args:
        pages: as ``decode_document`` gives them with 64 pixels a side and with the text.
    """
    return tuple(word for page in pages for word in _unit(page))


def _unit(page: Page) -> tuple[int, ...]:
    pixels = page.pixels_SS3 if page.pixels_SS3 is not None else np.full((8, 8, 3), 255, dtype=np.uint8)
    looks, *signature = picture_hashes(pixels)
    return (looks, similarity_word(page.text), *signature)

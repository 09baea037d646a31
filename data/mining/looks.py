"""Whether two pictures look the same, whatever a model thinks of them: one saved anew is right where the other is."""

from collections.abc import Callable, Sequence

from data.fingerprints import picture_hash
from data.mining.knowledge import Document, Key
from data.records import ContentRef, Record
from model.content import Content, Modality
from model.encoder import Limits
from model.errors import ContentError
from model.media.image import decode_image

SIZE = 64

Resolve = Callable[[Record, ContentRef], Content]


class Looks:
    """Perceptual hashes of documents, each made once, when it is wanted.

    Args:
        resolve: gives contents for what is stored.
        bits: of 64; pictures whose hashes differ in at most so many look the same.
    """

    def __init__(self, resolve: Resolve, bits: int) -> None:
        self.resolve = resolve
        self.bits = bits
        self._known: dict[Key, tuple[int, ...]] = {}

    def of(self, document: Document) -> tuple[int, ...]:
        """Hashes of the pictures of a document; none of another kind, of one that is flat or cannot be decoded."""
        if document.key not in self._known:
            pictures = any(part.modality is Modality.IMAGE for part in document.ref)
            found = of_content(self.resolve(document.records[0], document.ref)) if pictures else ()
            self._known[document.key] = found
        return self._known[document.key]

    def alike(self, one: Sequence[int], others: Sequence[Sequence[int]]) -> bool:
        """Whether one of the pictures looks like one of the others'."""
        return any((a ^ b).bit_count() <= self.bits for a in one for other in others for b in other)


def of_content(content: Content) -> tuple[int, ...]:
    """Hashes of the pictures of a content."""
    found = []
    for part in content.parts:
        if part.modality is Modality.IMAGE and part.data is not None:
            try:
                found.append(picture_hash(decode_image(part.data, Limits(), size=SIZE)))
            except ContentError:
                continue
    return tuple(word for word in found if word)

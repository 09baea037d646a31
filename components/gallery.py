"""Items of a corpus with vectors, small enough for the playground to hold and search in a browser.

Shape legend: N items, D embedding dimensions.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.pages import CLIPS, PICTURES, SOUNDS
from data.corpus import Corpus
from data.records import ContentRef, Record
from model.artifact import load_encoder
from model.content import Content, Modality
from model.encoder import takes
from model.encoding import encode_contents
from model.files import whole_file
from model.media.containers import sniff

PER_KIND = 60
MOST_BYTES = 40_000
LABEL_CHARS = 120
DIGITS = 5
TYPES = PICTURES | SOUNDS | CLIPS | {"pdf": "application/pdf"}
"""What browsers show, by the container that the bytes are in."""


@dataclass(frozen=True)
class Item:
    """One thing to find."""

    kind: str
    label: str
    content: Content

    @property
    def uri(self) -> str | None:
        """The medium as a ``data:`` URI; None of a text."""
        data = self.content.parts[0].data
        return None if data is None else f"data:{TYPES[sniff(data) or '']};base64,{base64.b64encode(data).decode()}"


def build_gallery(artifact: Path, corpus: Path, output: Path, *, vector_space: str, per_kind: int = PER_KIND) -> int:
    """Write the gallery of a model: JSON with ``vector_space``, ``corpus`` and ``items``.

    Only test records are shown, so what is found is nothing that was learnt by heart. Which items are chosen depends on
    their names alone.

    Args:
        artifact: the model.
        corpus: directory of shards.
        output: file to write, in one move.
        vector_space: identity of the model's space.
        per_kind: items of each modality, at most.

    Returns:
        Number of items.

    Raises:
        DataError: the corpus cannot be read.
    """
    encoder = load_encoder(artifact, backend="onnx", threads=1)
    items = [item for item in _chosen(Corpus(corpus, splits=("test",)), per_kind) if takes(encoder, [_modality(item)])]
    vectors_ND = encode_contents(encoder, [item.content for item in items], desc="gallery")
    rows = [
        {"kind": item.kind, "label": item.label, "uri": item.uri, "vector": np.round(vector_D, DIGITS).tolist()}
        for item, vector_D in zip(items, vectors_ND.astype(float), strict=True)
    ]
    with whole_file(output) as partial:
        document = {"vector_space": vector_space, "corpus": corpus.name, "items": rows}
        partial.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    return len(rows)


def _modality(item: Item) -> Modality:
    return item.content.parts[0].modality


def _chosen(corpus: Corpus, per_kind: int) -> Iterator[Item]:
    """Distinct single-part contents of each modality, in the order of a hash, until there are enough."""
    found: dict[Modality, dict[str, tuple[Record, ContentRef]]] = {modality: {} for modality in Modality}
    for record in sorted(corpus.records, key=_order):
        for content in (record.query, *record.positives):
            part = content[0]
            name = part.media or part.text or ""
            if len(content) == 1 and name not in found[part.modality]:
                found[part.modality][name] = (record, content)
    for modality, candidates in found.items():
        left = per_kind
        for record, content in candidates.values():
            if left == 0:
                break
            resolved = corpus.content(record, content)
            data = resolved.parts[0].data
            if data is None or (len(data) <= MOST_BYTES and sniff(data) in TYPES):
                left -= 1
                yield Item(modality.value, _label(record, content), resolved)


def _order(record: Record) -> tuple[bool, str]:
    """English first, for its captions are the labels; then by a hash, so that no source comes first."""
    return "en" not in record.languages, hashlib.sha256(record.id.encode()).hexdigest()


def _label(record: Record, content: ContentRef) -> str:
    texts = [text for other in (content, record.query, *record.positives) if (text := _text(other))]
    return (texts[0] if texts else record.group)[:LABEL_CHARS]


def _text(content: ContentRef) -> str:
    return " ".join(part.text for part in content if part.text)

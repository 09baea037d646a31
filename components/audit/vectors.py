"""Near-duplicates by the vectors of a model, found by usearch: for paraphrases and redrawings that no hash can see.

Shape legend: N items, D dimensions.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.audit.config import AuditConfig
from data.access import MediaAccess
from data.audit.audit import Further
from data.audit.edges import Edges
from data.audit.items import Items
from data.mining.search import Searcher
from model.content import Content, Modality, Part
from model.errors import ConfigError, ContentError

if TYPE_CHECKING:
    from model.encoder import Encoder

EXACT_BELOW = 4096


def by_model(config: AuditConfig, model: Path | None) -> Further | None:
    """A finder of neighbours by the vectors of ``model``; ``None`` when the configuration does not ask for it.

    Raises:
        ConfigError: it asks for it and there is no model.
    """
    if not config.embedding.enabled:
        return None
    if model is None:
        raise ConfigError("embedding.enabled needs a model: give its artifact (--model), or turn it off")
    artifact = model

    def further(items: Items, homes: dict[int, Path]) -> Edges:
        from model.artifact import load_encoder

        encoder = load_encoder(artifact)
        return Edges.together(_of_modality(m, items, homes, encoder, config) for m in sorted(encoder.modalities))

    return further


def near_vectors(vectors_ND: NDArray[np.float32], item: NDArray[np.int64], config: AuditConfig) -> Edges:
    """Pairs of items among the nearest of each other whose cosine is high enough; the distance is one minus it.

    Args:
        vectors_ND: unit vectors.
        item: of each vector.
        config: how many neighbours, and how near.
    """
    if len(item) < 2:
        return Edges.of([])
    search = Searcher(vectors_ND, exact_below=EXACT_BELOW)
    places, cosines = search(vectors_ND, config.embedding.neighbours + 1)
    rows, columns = np.nonzero((cosines >= config.embedding.cosine) & (places != np.arange(len(item))[:, None]))
    first, second, cosine = item[rows], item[places[rows, columns]], cosines[rows, columns]
    apart = np.maximum(0.0, 1.0 - cosine.astype(np.float64))
    return Edges.of(zip(first.tolist(), second.tolist(), apart.tolist(), strict=True))


def _of_modality(
    modality: Modality, items: Items, homes: dict[int, Path], encoder: "Encoder", config: AuditConfig
) -> Edges:
    from model.encoding import encode_contents

    chosen, contents = [], []
    for item, part in _texts(items) if modality is Modality.TEXT else _media(modality, items, homes):
        content = Content((part,))
        try:
            encoder.count_tokens(content)
        except ContentError:  # too long for the model, or not decodable: the other comparisons have seen it
            continue
        chosen.append(item)
        contents.append(content)
    budget = config.embedding.max_batch_tokens
    vectors_ND = encode_contents(encoder, contents, max_batch_tokens=budget, desc=f"embed {modality}")
    return near_vectors(vectors_ND, np.array(chosen, dtype=np.int64), config)


def _texts(items: Items) -> Iterator[tuple[int, Part]]:
    """Texts long enough to be compared for likeness, in normal form."""
    own = items.of_kind("text")
    with pa.memory_map(str(items.texts)) as file:
        table = pa.ipc.open_file(file).read_all()
        keys = own[np.searchsorted(items.key[own], table["key"].to_numpy())]
        for item, normal in zip(keys.tolist(), table["normal"], strict=True):
            yield item, Part(Modality.TEXT, text=normal.as_py())


def _media(modality: Modality, items: Items, homes: dict[int, Path]) -> Iterator[tuple[int, Part]]:
    access = MediaAccess()
    for item in items.of_kind(modality.value).tolist():
        if items.comparable[item] and item in homes:
            yield item, Part(modality, data=access(homes[item], items.media[item]))

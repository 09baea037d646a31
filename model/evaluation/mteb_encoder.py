"""An Omnivec encoder as an mteb encoder: anything mteb can run, runs on our models.

mteb hands over batches of columns. Media cells may hold encoded bytes (our own tasks: the model then sees exactly the
bytes that serving would see) or what official tasks hold (see ``model.evaluation.mteb_media``). Several columns
together are the parts of one content: media first, then text, unless an ``order`` column says otherwise.

Shape legend: N contents, D dimensions.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.content import Content, Modality, Part
from model.encoder import Encoder
from model.encoding import encode_contents
from model.errors import ContentError
from model.evaluation.mteb_media import hand_over_stored_media, media_bytes

COLUMNS = (Modality.IMAGE, Modality.AUDIO, Modality.VIDEO, Modality.TEXT)
ORDER = "order"


class MtebEncoder:
    """Satisfies ``mteb.EncoderProtocol``; every distinct content is embedded once, whatever the number of tasks.

    Without torchcodec, making one for a model of sound or clips lets datasets hand these over as stored bytes.

    Args:
        encoder: the encoder to measure.
        name: ``organisation/model`` name for mteb's records.
        revision: version or digest for mteb's records.
        query_task: task prefix that mteb's queries get, when the model was trained with one.
        document_task: the same for documents.
        max_batch_tokens: padded tokens per batch.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        name: str = "omnivec/omnivec",
        revision: str = "local",
        query_task: str | None = None,
        document_task: str | None = None,
        max_batch_tokens: int = 1024,
    ) -> None:
        self.encoder = encoder
        self.name = name
        self.revision = revision
        self.max_batch_tokens = max_batch_tokens
        self.tasks = {"query": query_task, "document": document_task}
        self._memory: dict[str, NDArray[np.float32]] = {}
        if encoder.modalities & {Modality.AUDIO, Modality.VIDEO}:
            hand_over_stored_media()

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb records about the model."""
        from mteb.models.model_meta import ModelMeta

        known = [m.value for m in COLUMNS if m in self.encoder.modalities]
        values = {
            "name": self.name,
            "revision": self.revision,
            "modalities": known,
            "embed_dim": list(self.encoder.dimensions),
            "max_tokens": self.encoder.limits.max_tokens,
            "similarity_fn_name": "cosine",
        }
        return ModelMeta.create_empty(overwrites=values)

    def prompted(self, content: Content, role: str) -> Content:
        """The content with the task prefix of its role (``query`` or ``document``)."""
        return Content(content.parts, task=self.tasks.get(role) or content.task)

    def vectors(self, contents: Sequence[Content], *, desc: str = "") -> NDArray[np.float32]:
        """Unit vectors [N, D] of contents; only those never seen before are computed, in one length-sorted pass."""
        missing = {c.digest: c for c in contents if c.digest not in self._memory}
        if missing:
            found_ND = encode_contents(
                self.encoder, list(missing.values()), max_batch_tokens=self.max_batch_tokens, desc=desc
            )
            self._memory |= dict(zip(missing, found_ND, strict=True))
        if not contents:
            return np.zeros((0, self.encoder.dimensions[0]), dtype=np.float32)
        return np.stack([self._memory[c.digest] for c in contents])

    def encode(self, inputs: Iterable[Mapping[str, Any]], *, prompt_type: Any = None, **_: Any) -> NDArray[np.float32]:
        """Embed mteb's batches, shape [N, D]; task identity arguments other than the prompt type are not needed."""
        role = getattr(prompt_type, "value", prompt_type) or ""
        contents = [self.prompted(c, role) for batch in inputs for c in contents_of_batch(batch)]
        return self.vectors(contents)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> NDArray[np.float32]:
        """Cosine of every pair of unit vectors, shape [N1, N2]."""
        return np.asarray(np.asarray(embeddings1) @ np.asarray(embeddings2).T)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> NDArray[np.float32]:
        """Cosine of corresponding unit vectors, shape [N]."""
        return np.asarray((np.asarray(embeddings1) * np.asarray(embeddings2)).sum(axis=-1))


def contents_of_batch(batch: Mapping[str, Any]) -> list[Content]:
    """The contents of one mteb batch.

    Raises:
        ContentError: the batch holds no column of a known modality, or a cell of an unknown kind.
    """
    columns = {m: batch[m.value] for m in COLUMNS if m.value in batch}
    if not columns:
        raise ContentError(f"no text, image, audio or video column among {sorted(batch)}", code="empty_content")
    count = len(next(iter(columns.values())))
    orders = batch.get(ORDER, [None] * count)
    contents = []
    for row in range(count):
        order = [Modality(name) for name in orders[row].split(",")] if orders[row] else list(columns)
        contents.append(Content(tuple(_part(modality, columns[modality][row]) for modality in order)))
    return contents


def _part(modality: Modality, cell: Any) -> Part:
    if modality is Modality.TEXT:
        return Part(modality, text=cell)
    return Part(modality, data=media_bytes(modality, cell))

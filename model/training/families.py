"""Encoders that can be trained: the torch encoders of both families."""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from model.content import Content, Modality
from model.media.mel import SAMPLE_RATE
from model.sentence_transformer.batch import GroupedBatch
from model.sentence_transformer.encoder import SentenceTransformerEncoder
from model.unified.batch import UnifiedBatch
from model.unified.encoder import UnifiedEncoder
from model.unified.sound import input_shape

TorchEncoder = UnifiedEncoder | SentenceTransformerEncoder


def preprocessing_of(encoder: TorchEncoder) -> Callable[[Sequence[Content]], UnifiedBatch | GroupedBatch]:
    """``encoder.preprocess`` that can be sent to another process without the weights."""
    if isinstance(encoder, UnifiedEncoder):
        return partial(encoder.preprocessor, store=encoder.features)
    return _Weightless(encoder).preprocess


def memory_of(encoder: TorchEncoder) -> dict[Modality, int]:
    """About how many bytes one part of each modality takes once it is decoded.

    A sound counts as one window, a document as all the pages it may have. What a processor of the other family makes
    is not known before it made it; one picture of its usual sizes is a megabyte.
    """
    if not isinstance(encoder, UnifiedEncoder):
        return {modality: 2**13 if modality is Modality.TEXT else 2**20 for modality in Modality}
    config = encoder.config
    sound = 0
    if config.audio_tower is not None:
        sound = 4 * math.prod(input_shape(config.audio_tower, round(config.audio.window_seconds * SAMPLE_RATE)))
    picture = 3 * config.image.size**2
    return {
        Modality.TEXT: 2 * 8 * config.max_text_tokens,  # ids and mask
        Modality.IMAGE: picture,
        Modality.VIDEO: 3 * config.video.size**2 * config.video.max_frames
        + picture * config.video.stills
        + sound * config.video.audio_track,
        Modality.AUDIO: sound,
        Modality.DOCUMENT: picture * config.limits.max_document_pages,
    }


class _Weightless:
    """A sentence_transformer encoder that leaves its weights behind when it is pickled: a processor needs the module
    around them, but not what is in them.
    """

    def __init__(self, encoder: SentenceTransformerEncoder) -> None:
        self.encoder = encoder

    def preprocess(self, contents: Sequence[Content]) -> GroupedBatch:
        return self.encoder.preprocess(contents)

    def __getstate__(self) -> dict[str, SentenceTransformerEncoder]:
        tensors = [*self.encoder.parameters(), *self.encoder.buffers()]
        memo: dict[int, object] = {id(tensor): _without_data(tensor) for tensor in tensors}
        return {"encoder": copy.deepcopy(self.encoder, memo)}


def _without_data(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


def network_of(encoder: TorchEncoder) -> Any:
    """The transformers model that holds the layers: the trunk, or the whole model of the other family."""
    return encoder.trunk if isinstance(encoder, UnifiedEncoder) else encoder.model[0].model

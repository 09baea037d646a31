"""Encoders that can be trained: the torch encoders of both families."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from model.content import Content
from model.sentence_transformer.batch import GroupedBatch
from model.sentence_transformer.encoder import SentenceTransformerEncoder
from model.unified.batch import UnifiedBatch
from model.unified.encoder import UnifiedEncoder

TorchEncoder = UnifiedEncoder | SentenceTransformerEncoder


def preprocessing_of(encoder: TorchEncoder) -> Callable[[Sequence[Content]], UnifiedBatch | GroupedBatch]:
    """``encoder.preprocess`` that can be sent to another process without the weights."""
    if isinstance(encoder, UnifiedEncoder):
        return partial(encoder.preprocessor, store=encoder.features)
    return _Weightless(encoder).preprocess


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

"""Encoders of real sizes with random weights and batches made in memory: what a machine without any data can measure.

Shape legend: N contents, L sequence positions, B pictures in one tower call, T tokens per picture.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from model.content import Modality
from model.towers.config import EfficientNetLiteConfig
from model.unified.batch import MediaTokens, TowerCall, UnifiedBatch
from model.unified.config import UnifiedConfig

if TYPE_CHECKING:
    from model.unified.encoder import UnifiedEncoder

DECODERS = ("soundfile", "soxr", "av")
POOL = 256
"""Distinct pictures; a larger batch shows them again, so that it needs no memory of its own."""


@dataclass(frozen=True)
class Size:
    """A trunk, and the lengths of texts: their median and most tokens."""

    name: str
    width: int
    layers: int
    vocabulary: int = 250_037
    median: int = 40
    longest: int = 128
    picture: int = 192

    def config(self) -> UnifiedConfig:
        """The whole encoder; without dropout in the trunk, with which no kernel for packed sequences works."""
        trunk: dict[str, Any] = {
            "model_type": "bert",
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": max(1, self.width // 64),
            "intermediate_size": 4 * self.width,
            "max_position_embeddings": 512,
            "pad_token_id": 1,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        }
        return UnifiedConfig.parse(
            {
                "trunk": trunk,
                "image_tower": EfficientNetLiteConfig(fused=True).model_dump(mode="json"),
                "image": {"size": self.picture},
                "dimensions": [self.width],
                "max_text_tokens": self.longest,
            }
        )


TOY = Size("toy", 64, 2, vocabulary=300, median=10, longest=24, picture=64)
SMALL = Size("multilingual-e5-small", 384, 12)
BASE = Size("multilingual-e5-base", 768, 12)


def encoder_of(size: Size, device: str, *, pictures: bool) -> "UnifiedEncoder":
    """An encoder with random weights in fp32; frozen towers."""
    import torch

    stand_in_for_decoders()
    from model.unified.encoder import UnifiedEncoder
    from model.weights.tokenizer import byte_tokenizer

    modalities = frozenset({Modality.TEXT, *([Modality.IMAGE] if pictures else [])})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = UnifiedEncoder(size.config(), byte_tokenizer().to_str(), modalities=modalities)
    return encoder.to(device).eval()


class _Absent(ModuleType):
    """A module whose names may be written down, as in annotations, but not used."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def stand_in_for_decoders() -> None:
    """Nothing is decoded here, so a machine that has no decoders of sounds and clips can measure all the same.

    The stand-ins are gone once our modules are there: other libraries ask which decoders there are.
    """
    absent = [name for name in DECODERS if find_spec(name) is None]
    sys.modules.update({name: _Absent(name) for name in absent})
    try:
        for module in ("model.unified.media", "model.sentence_transformer.inputs"):
            import_module(module)
    finally:
        for name in absent:
            del sys.modules[name]


def texts(count: int, size: Size, seed: int) -> list[str]:
    """Distinct texts whose lengths in tokens (bytes and two special ones) are spread like those of sentences."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(np.exp(rng.normal(np.log(size.median), 0.8, count)), 8, size.longest).astype(int)
    letters = rng.integers(97, 123, (count, size.longest), dtype=np.uint8)
    return [row[: length - 2].tobytes().decode("ascii") for row, length in zip(letters, lengths, strict=True)]


def text_batch(count: int, size: Size, seed: int) -> UnifiedBatch:
    """The batch of random texts of such lengths, without a tokenizer's work."""
    rng = np.random.default_rng(seed)
    lengths_N = np.array([len(text) + 2 for text in texts(count, size, seed)])
    mask_NL = (np.arange(lengths_N.max()) < lengths_N[:, None]).astype(np.int64)
    return UnifiedBatch(rng.integers(4, size.vocabulary, mask_NL.shape) * mask_NL, mask_NL, {})


def picture_batch(count: int, size: Size, seed: int) -> UnifiedBatch:
    """Random pictures, one token each after the trunk's first."""
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 256, (min(POOL, count), 3, size.picture, size.picture), dtype=np.uint8)
    rows_N = np.arange(count)
    calls = [TowerCall(pool[: len(rows)], rows[:, None]) for rows in _chunks(rows_N, len(pool))]
    ones_N = np.ones(count, dtype=np.int64)
    media = MediaTokens(None, np.zeros_like(ones_N), rows_N, ones_N, tuple(calls))
    ids_NL = np.stack([np.zeros_like(ones_N), ones_N], 1)
    return UnifiedBatch(ids_NL, np.ones_like(ids_NL), {"image": media})


def _chunks(rows_N: Any, length: int) -> Sequence[Any]:
    return [rows_N[i : i + length] for i in range(0, len(rows_N), length)]

"""Reader of the 4-bit multilingual-e5-small file (format ``E5S1``) and its conversion to a BERT state dict.

The format: header, Unigram vocabulary, normalisation map, tensor directory, tensors. Matrices are Q4_0: blocks of 32
weights as one fp16 scale and 16 bytes whose low nibbles are weights 0..15 and high nibbles 16..31, w = (q - 8) scale.
"""

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import ArtifactError

MAGIC = b"E5S1"
BLOCK = 32
BLOCK_DTYPE = np.dtype([("scale", "<f2"), ("nibbles", "u1", BLOCK // 2)])
EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
SUFFIX = {"w": "weight", "b": "bias"}


@dataclass(frozen=True)
class Vocabulary:
    """Unigram pieces with log probabilities; the index is the token id."""

    pieces: list[tuple[str, float]]
    bos: int
    eos: int
    pad: int
    unk: int


@dataclass(frozen=True)
class E5File:
    """Parsed file: ``config`` is transformers' BertConfig as a dict, ``state`` maps BertModel names to fp32 arrays."""

    config: dict[str, Any]
    vocabulary: Vocabulary
    state: dict[str, NDArray[np.float32]]


class _Cursor:
    """Sequential little-endian reads."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def unpack(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]


def read_e5(data: bytes) -> E5File:
    """Parse the file.

    Raises:
        ArtifactError: the bytes are not this format, or they are cut short.
    """
    if data[:4] != MAGIC:
        raise ArtifactError(f"not a 4-bit e5 file: it starts with {data[:4]!r}, expected {MAGIC!r}")
    try:
        return _read(_Cursor(data))
    except (struct.error, ValueError, KeyError) as error:
        raise ArtifactError(f"the 4-bit e5 file of {len(data)} bytes is damaged: {error}") from error


def _read(cursor: _Cursor) -> E5File:
    cursor.unpack("4sI")
    hidden, layers, heads, feed_forward, vocabulary_size, positions, types = cursor.unpack("7i")
    epsilon, block = cursor.unpack("fi")
    if block != BLOCK:
        raise ValueError(f"quantisation block of {block}, expected {BLOCK}")
    vocabulary = _read_vocabulary(cursor)
    _, size = cursor.unpack("iI")
    cursor.take(size)  # the normalisation map; NFKC in our tokenizer.json
    state = _read_tensors(cursor, hidden, feed_forward)
    config = {
        "model_type": "bert",
        "vocab_size": vocabulary_size,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": feed_forward,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": float(f"{epsilon:.6g}"),
        "hidden_act": "gelu",
        "pad_token_id": vocabulary.pad,
        "bos_token_id": vocabulary.bos,
        "eos_token_id": vocabulary.eos,
    }
    return E5File(config, vocabulary, state)


def _read_vocabulary(cursor: _Cursor) -> Vocabulary:
    count, bos, eos, pad, unk = cursor.unpack("5i")
    (size,) = cursor.unpack("Q")
    offsets = cursor.array("<u4", count + 1).tolist()
    scores = cursor.array("<f4", count).tolist()
    blob = cursor.take(size)
    texts = [blob[start:end].decode() for start, end in pairwise(offsets)]
    return Vocabulary(list(zip(texts, scores, strict=True)), bos, eos, pad, unk)


def _read_tensors(cursor: _Cursor, hidden: int, feed_forward: int) -> dict[str, NDArray[np.float32]]:
    (count,) = cursor.unpack("i")
    state = {}
    for _ in range(count):
        (length,) = cursor.unpack("H")
        name = cursor.take(length).decode()
        kind, values, offset, size = cursor.unpack("BIQQ")
        raw = cursor.data[offset : offset + size]
        flat = dequantise_q4(raw) if kind else np.frombuffer(raw, "<f4")
        if flat.size != values:
            raise ValueError(f"tensor {name} has {flat.size} values, expected {values}")
        is_matrix = kind == 1 or name in ("emb.pos", "emb.type")
        columns = feed_forward if name.endswith(".fo.w") else hidden
        state[_bert_name(name)] = flat.reshape(-1, columns) if is_matrix else flat
    return state


def dequantise_q4(raw: bytes) -> NDArray[np.float32]:
    """Unpack Q4_0 blocks to a flat fp32 array."""
    blocks = np.frombuffer(raw, BLOCK_DTYPE)
    nibbles = np.concatenate([blocks["nibbles"] & 0x0F, blocks["nibbles"] >> 4], axis=1).astype(np.float32)
    return ((nibbles - 8.0) * blocks["scale"].astype(np.float32)[:, None]).ravel()


def _bert_name(name: str) -> str:
    if name in EMBEDDINGS:
        return EMBEDDINGS[name]
    layer, part, suffix = name.split(".")
    return f"encoder.layer.{int(layer[1:])}.{LAYER[part]}.{SUFFIX[suffix]}"

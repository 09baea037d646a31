"""Smaller vectors on the wire. Every scheme is per vector, so a vector never depends on its neighbours.

- ``float``: float32, unit length.
- ``int8``: ``round(127 * v / max|v|)``; the scale drops out of every cosine.
- ``uint8``: the ``int8`` value plus 128 (subtract 128 before a cosine).
- ``ubinary``: one bit a dimension, set where ``v > 0``, most significant bit first, padded with zero bits; compare by
  Hamming distance.
- ``binary``: the ``ubinary`` byte minus 128 as int8, as sentence-transformers and Cohere do.

Shape legend: N items, d dimensions, B = ceil(d / 8) bytes.
"""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.schemas import OutputDtype


def _int8(vectors_Nd: NDArray[np.float32]) -> NDArray[Any]:
    peak_N1 = np.abs(vectors_Nd).max(axis=1, keepdims=True)
    scaled_Nd: NDArray[np.float32] = np.rint(vectors_Nd / np.maximum(peak_N1, 1e-12) * 127)
    return scaled_Nd.astype(np.int8)


def _uint8(vectors_Nd: NDArray[np.float32]) -> NDArray[Any]:
    return (_int8(vectors_Nd).astype(np.int16) + 128).astype(np.uint8)


def _ubinary(vectors_Nd: NDArray[np.float32]) -> NDArray[Any]:
    return np.packbits(vectors_Nd > 0, axis=1)


def _binary(vectors_Nd: NDArray[np.float32]) -> NDArray[Any]:
    return (_ubinary(vectors_Nd).astype(np.int16) - 128).astype(np.int8)


def _float(vectors_Nd: NDArray[np.float32]) -> NDArray[Any]:
    return np.ascontiguousarray(vectors_Nd, dtype="<f4")


QUANTIZERS: dict[OutputDtype, Callable[[NDArray[np.float32]], NDArray[Any]]] = {
    "float": _float,
    "int8": _int8,
    "uint8": _uint8,
    "binary": _binary,
    "ubinary": _ubinary,
}
NUMPY_DTYPES: dict[OutputDtype, str] = {
    "float": "<f4",
    "int8": "i1",
    "uint8": "u1",
    "binary": "i1",
    "ubinary": "u1",
}


def quantize(vectors_Nd: NDArray[np.float32], dtype: OutputDtype) -> NDArray[Any]:
    """Quantise each row on its own: shape [N, d], or [N, B] for the binary schemes."""
    return QUANTIZERS[dtype](vectors_Nd)


def to_base64(vector: NDArray[Any]) -> str:
    """Base64 of the little-endian bytes of one vector."""
    return base64.b64encode(vector.tobytes()).decode("ascii")


def from_base64(payload: str, dtype: OutputDtype = "float") -> NDArray[Any]:
    """Inverse of :func:`to_base64`."""
    return np.frombuffer(base64.b64decode(payload), dtype=NUMPY_DTYPES[dtype])

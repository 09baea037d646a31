"""Vectors on the wire: base64 of their little-endian bytes. The codes themselves are made by ``model.quantize``."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.quantize import NUMPY_DTYPES, OutputDtype


def to_base64(vector: NDArray[Any]) -> str:
    """Base64 of the little-endian bytes of one vector."""
    return base64.b64encode(vector.tobytes()).decode("ascii")


def from_base64(payload: str, dtype: OutputDtype = "float") -> NDArray[Any]:
    """Inverse of :func:`to_base64`."""
    return np.frombuffer(base64.b64decode(payload), dtype=NUMPY_DTYPES[dtype])

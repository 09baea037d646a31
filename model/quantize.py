"""Smaller vectors: one byte or one bit a dimension, with ranges that were calibrated once and travel in the artifact.

The schemes are those of sentence-transformers' ``quantize_embeddings``, bit for bit at equal ranges:

- ``float``: float32, unit length.
- ``uint8``: ``floor((v - low) / step)`` clipped to 0..255, ``step = (high - low) / 255`` of the dimension.
- ``int8``: the ``uint8`` value minus 128.
- ``ubinary``: one bit a dimension, set where ``v > 0``, most significant bit first, padded with zero bits; compare by
  Hamming distance.
- ``binary``: the ``ubinary`` byte minus 128 as int8.

A code depends on its own vector and the artifact alone, never on its neighbours. Truncation renormalises, which
changes every value, so each Matryoshka dimension has ranges of its own. Where there are none, ``int8`` and ``uint8``
are refused: ranges made up on the spot would give codes that do not compare.

Shape legend: N items, D full and d kept dimensions, B = ceil(d / 8) bytes; ranges [2, d] hold low and high.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.errors import ArtifactError, ConfigError
from model.matryoshka import truncate

OutputDtype = Literal["float", "int8", "uint8", "binary", "ubinary"]
NUMPY_DTYPES: dict[OutputDtype, str] = {"float": "<f4", "int8": "i1", "uint8": "u1", "binary": "i1", "ubinary": "u1"}
RANGED: tuple[OutputDtype, ...] = ("int8", "uint8")
PACKED: tuple[OutputDtype, ...] = ("binary", "ubinary")
LEVELS = 255
FILE = "quantization.json"
FORMAT = "omnivec-ranges/1"


class Quantizer:
    """Turns unit vectors into codes with the ranges of one artifact.

    Args:
        ranges: Matryoshka dimension -> [2, d]; empty when the artifact was never calibrated.
    """

    def __init__(self, ranges: Mapping[int, NDArray[np.float32]]) -> None:
        self.ranges = {size: np.asarray(found, dtype=np.float32) for size, found in ranges.items()}

    @property
    def digest(self) -> str:
        """Identity of the ranges, 16 hex digits; codes of different ranges must not be compared."""
        hasher = hashlib.sha256()
        for size, found in sorted(self.ranges.items()):
            hasher.update(f"{size}:".encode() + found.astype("<f4").tobytes())
        return hasher.hexdigest()[:16]

    def check(self, dtype: OutputDtype, dimension: int) -> None:
        """Refuse codes that would need ranges which are not there.

        Raises:
            ConfigError: saying which dimensions are calibrated and what works without.
        """
        if dtype not in RANGED or dimension in self.ranges:
            return
        sizes = ", ".join(map(str, sorted(self.ranges, reverse=True)))
        known = f"ranges are calibrated for dimensions {sizes}" if sizes else "this model has no calibrated ranges"
        raise ConfigError(
            f"{dtype} vectors of {dimension} dimensions cannot be made: {known}. Exporting a model calibrates it; "
            f"float, {' and '.join(PACKED)} work at any dimension"
        )

    def __call__(self, vectors_Nd: NDArray[np.float32], dtype: OutputDtype) -> NDArray[Any]:
        """Codes [N, d], or [N, B] for the binary schemes.

        Raises:
            ConfigError: see :meth:`check`.
        """
        self.check(dtype, vectors_Nd.shape[1])
        if dtype in RANGED:
            return scale(vectors_Nd, self.ranges[vectors_Nd.shape[1]], dtype)
        if dtype in PACKED:
            return pack(vectors_Nd, dtype)
        return np.ascontiguousarray(vectors_Nd, dtype="<f4")


def scale(vectors_Nd: NDArray[np.float32], ranges_2d: NDArray[np.float32], dtype: OutputDtype) -> NDArray[Any]:
    """``uint8`` or ``int8`` codes [N, d]; what lies outside the ranges is clipped."""
    low_d, high_d = ranges_2d.astype(np.float32)
    step_d = (high_d - low_d) / LEVELS
    step_d = np.where(step_d == 0, 1, step_d)
    levels_Nd = np.clip(np.floor((vectors_Nd - low_d) / step_d), 0, LEVELS)
    codes_Nd: NDArray[Any] = levels_Nd.astype(np.uint8) if dtype == "uint8" else (levels_Nd - 128).astype(np.int8)
    return codes_Nd


def pack(vectors_Nd: NDArray[np.float32], dtype: OutputDtype) -> NDArray[Any]:
    """``ubinary`` or ``binary`` codes [N, B]."""
    bits_NB = np.packbits(vectors_Nd > 0, axis=1)
    return bits_NB if dtype == "ubinary" else (bits_NB.astype(np.int16) - 128).astype(np.int8)


def comparable(codes: NDArray[Any], dtype: OutputDtype, dimension: int) -> NDArray[np.float32]:
    """Unit vectors [N, d] whose cosines rank as the codes do: signs for bits, so that cosine falls with Hamming."""
    if dtype in PACKED:
        bytes_NB = codes if dtype == "ubinary" else (codes.astype(np.int16) + 128).astype(np.uint8)
        values_Nd = np.unpackbits(bytes_NB, axis=1, count=dimension).astype(np.float32) * 2 - 1
    else:
        values_Nd = codes.astype(np.float32) - (128 if dtype == "uint8" else 0)
    return truncate(values_Nd, dimension)


def calibrate(vectors_ND: NDArray[np.float32], dimensions: Sequence[int]) -> Quantizer:
    """Ranges from a sample of unit vectors: lowest and highest value of each column, at every Matryoshka dimension.

    Raises:
        ConfigError: fewer than two vectors.
    """
    if len(vectors_ND) < 2:
        raise ConfigError(f"{len(vectors_ND)} vector(s) calibrate nothing; give a sample of the contents to come")
    shorter = {size: truncate(vectors_ND, size) for size in dimensions}
    return Quantizer({size: np.stack([found.min(0), found.max(0)]) for size, found in shorter.items()})


def save_quantizer(quantizer: Quantizer, directory: Path, facts: Mapping[str, Any]) -> None:
    """Write the ranges into an artifact, with ``facts`` on where they come from."""
    ranges = {str(size): found.tolist() for size, found in quantizer.ranges.items()}
    document = {"format": FORMAT, "digest": quantizer.digest, **facts, "ranges": ranges}
    (directory / FILE).write_text(json.dumps(document) + "\n", encoding="utf-8")


def load_quantizer(directory: Path) -> Quantizer:
    """The quantizer of an artifact; without ranges when it was never calibrated.

    Raises:
        ArtifactError: the file of ranges is damaged.
    """
    path = directory / FILE
    if not path.is_file():
        return Quantizer({})
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = Quantizer({int(size): np.array(rows) for size, rows in document["ranges"].items()})
        intact = document["format"] == FORMAT and document["digest"] == found.digest
        shaped = all(rows.shape == (2, size) and np.isfinite(rows).all() for size, rows in found.ranges.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is not a file of calibrated ranges: {error!r}; export the model again") from error
    if not (intact and shaped):
        raise ArtifactError(f"{path} does not hold {FORMAT} ranges that fit its digest; export the model again")
    return found

"""The champion's reference: held-out contents and their vectors, in the columns of a request capture.

It is stored with the model version, because vectors of different versions cannot be compared.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.content import Content, Modality
from model.errors import DataError
from serving.capture import SCHEMA, Served, features


class TokenCounter(Protocol):
    """What is needed of an encoder to count tokens as the server does."""

    def count_tokens(self, content: Content) -> dict[Modality, int]:
        """Exact number of tokens of each modality."""


def build_reference(
    contents: Sequence[Content],
    vectors: NDArray[np.float32],
    path: Path,
    *,
    encoder: TokenCounter | None = None,
) -> Path:
    """Write ``reference.parquet``.

    Args:
        contents: N held-out contents, in the mixture that is expected in production; 150 or more of each kind, since
            kinds below three times ``DriftConfig.minimum_rows`` are not tested.
        vectors: their embeddings at full dimension, shape [N, D].
        path: file to write.
        encoder: counts tokens; without one the token columns are empty and take no part in drift tests.

    Raises:
        DataError: the numbers of contents and vectors differ, there are none, or a vector is not finite.
    """
    if len(contents) != len(vectors) or not len(contents):
        raise DataError(f"a reference needs one vector per content, got {len(contents)} and {len(vectors)}")
    if not np.isfinite(vectors).all():
        raise DataError("a reference vector holds NaN or infinity; the encoder that made it is broken")
    rows = [_row(i, content, vectors[i], encoder) for i, content in enumerate(contents)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, compression="zstd")
    return path


def _row(index: int, content: Content, vector_D: NDArray[np.float32], encoder: TokenCounter | None) -> dict[str, Any]:
    tokens = encoder.count_tokens(content) if encoder else {}
    row = features(Served(content, f"reference-{index}", tokens, vector_D))
    row["time"] = None  # of no time, so that the same model always gives the same file, and the same digest
    return row if encoder else {**row, **dict.fromkeys(name for name in row if name.endswith("_tokens"))}

"""Captured requests as arrays.

Shape legend: N rows, D embedding dimensions, F cheap features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.errors import DataError

COUNTS = ("parts", "text_chars", "text_tokens", "image_tokens", "audio_tokens", "video_tokens", "media_bytes")
"""Numeric capture columns; compared as ``log1p`` because sizes are heavy-tailed."""

COLUMNS = ("kind", "script", "ok", "embedding", *COUNTS)


@dataclass(frozen=True)
class Window:
    """Rows of one capture window or of the reference.

    ``vectors_ND`` and ``features_NF`` hold the successful rows only; ``failed`` counts the others by kind.
    A feature that was not recorded is NaN.
    """

    kinds_N: NDArray[np.str_]
    scripts_N: NDArray[np.str_]
    features_NF: NDArray[np.float64]
    vectors_ND: NDArray[np.float32]
    failed: dict[str, int]

    def __len__(self) -> int:
        return len(self.kinds_N)

    @property
    def kinds(self) -> list[str]:
        """Distinct kinds in name order."""
        return [str(kind) for kind in np.unique(self.kinds_N)]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Window":
        """The rows of an index or mask."""
        return Window(
            self.kinds_N[rows], self.scripts_N[rows], self.features_NF[rows], self.vectors_ND[rows], self.failed
        )

    def of_kind(self, kind: str) -> "Window":
        """The rows of one kind."""
        return self.take(self.kinds_N == kind)


def read_window(path: Path) -> Window:
    """Read a capture file, or every ``*.parquet`` below a directory.

    Raises:
        DataError: nothing is there, a column is missing, no row has an embedding or their dimensions differ.
    """
    paths = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not paths or not all(p.is_file() for p in paths):
        raise DataError(f"{path} holds no capture; give a Parquet file or a directory of them (capture must be on)")
    return window_of(pa.concat_tables([_read(p) for p in paths]), str(path))


def _read(path: Path) -> pa.Table:
    try:
        schema = pq.read_schema(path)
        missing = [name for name in COLUMNS if name not in schema.names]
        if missing:
            raise DataError(f"{path} is no capture file: columns {missing} are missing")
        return pq.read_table(path, columns=list(COLUMNS))
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable capture file: {error}") from error


def window_of(table: pa.Table, where: str) -> Window:
    """Turn capture rows into arrays; ``where`` names them in errors."""
    kinds = np.array(table["kind"].to_pylist(), dtype=np.str_)
    embeddings: list[Sequence[float] | None] = table["embedding"].to_pylist()
    good = np.array([bool(ok) and bool(row) for ok, row in zip(table["ok"].to_pylist(), embeddings, strict=True)])
    if not good.any():
        raise DataError(f"{where}: none of {len(good)} captured rows has an embedding, so nothing can be compared")
    rows = [row for row, keep in zip(embeddings, good, strict=True) if keep and row is not None]
    sizes = {len(row) for row in rows}
    if len(sizes) > 1:
        raise DataError(f"{where}: embeddings of {sorted(sizes)} dimensions are mixed; capture full vectors only")
    failed_kinds, failed_counts = np.unique(kinds[~good], return_counts=True)
    return Window(
        kinds_N=kinds[good],
        scripts_N=np.array([script or "" for script in table["script"].to_pylist()], dtype=np.str_)[good],
        features_NF=np.column_stack([_numbers(table[name]) for name in COUNTS])[good],
        vectors_ND=np.asarray(rows, dtype=np.float32),
        failed={str(k): int(n) for k, n in zip(failed_kinds, failed_counts, strict=True)},
    )


def _numbers(column: Any) -> NDArray[np.float64]:
    values = np.array([np.nan if value is None else float(value) for value in column.to_pylist()])
    return np.asarray(np.log1p(values), dtype=np.float64)

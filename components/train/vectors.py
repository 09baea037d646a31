"""Vectors by content digest in Parquet files, as ``omnivec embed`` writes them: columns ``id`` and ``vector``.

Shape legend: N ids, K contents, E dimensions.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.content import Content, Modality
from model.errors import DataError
from model.files import whole_file

COLUMNS = ("id", "vector")
LIST, MEDIA = "contents.jsonl", "media"


class Vectors:
    """Unit vectors [K, E] by id."""

    def __init__(self, places: dict[str, int], vector_KE: NDArray[np.float32]) -> None:
        self._places = places
        self._vector_KE = vector_KE

    @property
    def width(self) -> int:
        """E; 0 where there is no vector."""
        return int(self._vector_KE.shape[1])

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __call__(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Vectors [N, E] in the order of ``names``."""
        return self._vector_KE[[self._places[name] for name in names]]


def read_vectors(directory: Path, wanted: Collection[str]) -> Vectors:
    """Read the vectors of ``wanted`` from all Parquet files of a directory; what is not there is left out.

    Raises:
        DataError: a file lacks a column, or holds vectors that are no floats, of several widths, or without direction.
    """
    places: dict[str, int] = {}
    blocks: list[NDArray[np.float32]] = []
    for path in sorted(directory.glob("*.parquet")):
        file = pq.ParquetFile(path)
        if missing := [name for name in COLUMNS if name not in file.schema_arrow.names]:
            raise DataError(f"{path} has no column {' and no '.join(missing)}; a file of vectors has id and vector")
        if not pa.types.is_floating(file.schema_arrow.field("vector").type.value_type):
            raise DataError(f"{path} holds codes, not numbers: embed with output_dtype=float")
        for batch in file.iter_batches(columns=list(COLUMNS)):
            names = batch.column("id").to_pylist()
            rows = [i for i, name in enumerate(names) if name in wanted and name not in places]
            if rows:
                start = len(places)
                places.update((names[row], start + n) for n, row in enumerate(rows))
                blocks.append(_unit(batch.column("vector").take(pa.array(rows)), path))
    widths = sorted({block.shape[1] for block in blocks})
    if len(widths) > 1:
        raise DataError(f"{directory} holds vectors of {widths} dimensions; take those of one teacher")
    return Vectors(places, np.concatenate(blocks) if blocks else np.zeros((0, 0), np.float32))


def write_vectors(path: Path, names: Sequence[str], vector_KE: NDArray[np.float32]) -> None:
    """Write one file, atomically."""
    rows = pa.FixedSizeListArray.from_arrays(pa.array(vector_KE.reshape(-1)), vector_KE.shape[1])
    with whole_file(path) as partial:
        pq.write_table(pa.table({"id": pa.array(names, pa.string()), "vector": rows}), partial)


def write_list(directory: Path, contents: Iterable[tuple[str, Content]]) -> Path:
    """Write contents with their ids as JSON lines that ``omnivec embed`` reads, media as files beside them."""
    directory.mkdir(parents=True, exist_ok=True)
    with whole_file(directory / LIST) as partial, partial.open("w", encoding="utf-8") as file:
        for name, content in contents:
            row: dict[str, Any] = {"id": name, "parts": []}
            if content.task is not None:
                row["task"] = content.task
            for part in content.parts:
                if part.modality is Modality.TEXT:
                    row["parts"].append({"text": part.text})
                    continue
                assert part.data is not None
                place = directory / MEDIA / part.digest
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(part.data)
                row["parts"].append({part.modality.value: f"{MEDIA}/{part.digest}"})
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return directory / LIST


def _unit(column: pa.Array, path: Path) -> NDArray[np.float32]:
    lengths = {len(row) for row in column}
    if len(lengths) != 1 or column.null_count:
        raise DataError(f"{path} holds vectors of {sorted(lengths)} dimensions; take those of one teacher")
    vector_KE = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), -1)
    norms_K1 = np.linalg.norm(vector_KE, axis=1, keepdims=True)
    if not np.isfinite(norms_K1).all() or not norms_K1.all():
        raise DataError(f"{path} holds vectors that are zero or not finite; embed those contents again")
    unit_KE: NDArray[np.float32] = vector_KE / norms_K1
    return unit_KE

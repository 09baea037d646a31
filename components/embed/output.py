"""Where vectors go: numbered parts while the work goes on, then one file, with what was skipped beside it.

Shape legend: N items, D dimensions.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import ConfigError
from model.files import whole_file
from model.quantize import NUMPY_DTYPES, PACKED, OutputDtype

PLAN = "plan.json"


@dataclass(frozen=True)
class Row:
    """The outcome of one input: a vector, or why there is none."""

    id: str
    kind: str | None = None
    tokens: int | None = None
    vector: list[float] | None = None
    code: str | None = None
    reason: str | None = None


def parts_of(output: Path) -> Path:
    """Where the finished pieces of an unfinished run wait."""
    return output.with_name(output.name + ".parts")


class Parts:
    """Finished pieces of one run in ``<output>.parts/``; a run with the same plan goes on where the last one stopped.

    Raises:
        ConfigError: the format is unknown, or the pieces there belong to another run.
    """

    def __init__(self, output: Path, plan: Mapping[str, Any]) -> None:
        if output.suffix not in WRITERS:
            raise ConfigError(f"output={output} must end in one of {', '.join(WRITERS)}")
        self.output = output
        self.directory = parts_of(output)
        self.skipped = output.with_name(output.name + ".skipped.jsonl")
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / PLAN
        if not path.exists():
            with whole_file(path) as partial:
                partial.write_text(json.dumps(plan, indent=1), encoding="utf-8")
        elif (before := json.loads(path.read_text(encoding="utf-8"))) != plan:
            changed = sorted(key for key in {*plan, *before} if plan.get(key) != before.get(key))
            raise ConfigError(
                f"{self.directory} holds an unfinished run with other {', '.join(changed)}: "
                "delete it to start again, or choose another output"
            )

    def __contains__(self, number: int) -> bool:
        return self._path(number).exists()

    def write(self, number: int, rows: list[Row]) -> None:
        """Keep the rows of one piece, atomically."""
        schema = pa.schema(
            [
                ("id", pa.string()),
                ("kind", pa.string()),
                ("tokens", pa.int32()),
                ("vector", pa.list_(pa.float32())),
                ("code", pa.string()),
                ("reason", pa.string()),
            ]
        )
        with whole_file(self._path(number)) as partial:
            pq.write_table(pa.Table.from_pylist([vars(row) for row in rows], schema), partial)

    def finish(self, count: int, dimension: int, dtype: OutputDtype, describe: Callable[[], None]) -> int:
        """Join ``count`` pieces into the output and the list of what was skipped, describe it, then remove them.

        Killed before the pieces are removed, the same run does this once more.

        Args:
            count: number of pieces.
            dimension: of the vectors, before bits are packed.
            dtype: of the output; the pieces hold the same numbers as floats, which is exact.
            describe: called when the output is in its place.

        Returns:
            Number of inputs skipped.
        """
        skipped = 0
        with whole_file(self.skipped) as partial, partial.open("w", encoding="utf-8") as file:
            for table in self._tables(count):
                for row in table.select(["id", "code", "reason"]).filter(table["vector"].is_null()).to_pylist():
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    skipped += 1
        columns = -(-dimension // 8) if dtype in PACKED else dimension
        WRITERS[self.output.suffix](
            self.output,
            (t.filter(t["vector"].is_valid()) for t in self._tables(count)),
            columns,
            np.dtype(NUMPY_DTYPES[dtype]),
        )
        describe()
        if not skipped:
            self.skipped.unlink()
        shutil.rmtree(self.directory)
        return skipped

    def _tables(self, count: int) -> Iterator[pa.Table]:
        return (pq.read_table(self._path(number)) for number in range(count))

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:06d}.parquet"


def _parquet(path: Path, tables: Iterator[pa.Table], columns: int, dtype: "np.dtype[Any]") -> None:
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("kind", pa.string()),
            ("tokens", pa.int32()),
            ("vector", pa.list_(pa.from_numpy_dtype(dtype), columns)),
        ]
    )
    with whole_file(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.select(schema.names).cast(schema))


def _jsonl(path: Path, tables: Iterator[pa.Table], columns: int, dtype: "np.dtype[Any]") -> None:
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        for table in tables:
            vectors = table["vector"].cast(pa.list_(pa.from_numpy_dtype(dtype)))
            for row in table.select(["id", "kind", "tokens"]).append_column("vector", vectors).to_pylist():
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _npy(path: Path, tables: Iterator[pa.Table], columns: int, dtype: "np.dtype[Any]") -> None:
    """Vectors [N, columns]; the ids of the rows go into ``<output>.ids.txt``, one JSON string a line."""
    ids: list[str] = []
    vectors = [np.zeros((0, columns), dtype=dtype)]
    for table in tables:
        ids += table["id"].to_pylist()
        vectors.append(np.array(table["vector"].to_pylist()).reshape(-1, columns).astype(dtype))
    with whole_file(path) as partial, partial.open("wb") as file:  # np.save would add a suffix to a name
        np.save(file, np.concatenate(vectors), allow_pickle=False)
        with whole_file(path.with_name(path.name + ".ids.txt")) as names:
            names.write_text("".join(json.dumps(i) + "\n" for i in ids), encoding="utf-8")


WRITERS = {".parquet": _parquet, ".jsonl": _jsonl, ".npy": _npy}

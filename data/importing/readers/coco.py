"""COCO captions: one large JSON of two lists, turned into rows of Parquet once, without holding it.

A row is a caption with its picture, as training takes it. Captions of a picture share its group. An annotation of
another form is a row that cannot be read; of a picture of another form the captions have no picture.
"""

import codecs
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.importing.places import Access
from data.importing.readers.columnar import ColumnarReader
from data.importing.readers.files import BLOCK, name_of
from data.importing.rows import Cut, Row, Unreadable
from model.errors import DataError
from model.files import whole_file

IMAGES = pa.schema([("image_id", pa.int64()), ("file_name", pa.string())])
CAPTIONS = pa.schema([("id", pa.int64()), ("image_id", pa.int64()), ("caption", pa.string())])
MALFORMED = pa.field("_malformed", pa.string())
KEPT = pa.schema([*CAPTIONS, MALFORMED])
BATCH = 10_000


class CocoReader(ColumnarReader):
    """Rows of what :func:`coco_rows` wrote.

    Args:
        access: opens the files.
        path: what was written.
        columns: that the mapping uses.
        source: the captions file, for messages.
    """

    def __init__(self, access: Access, path: str, columns: Collection[str], source: str) -> None:
        super().__init__(access, [path], columns)
        self.source = source

    def read(self, cut: Cut) -> Iterator[Row | Unreadable]:
        """Rows of a cut."""
        for row in super().read(cut):
            raw = row.values.pop(MALFORMED.name, None) if isinstance(row, Row) else None
            if raw is None:
                yield row
                continue
            wanted = ", ".join(f"{field.name} ({field.type})" for field in CAPTIONS)
            message = f"{name_of(self.source)}: an annotation has to have {wanted}, and this one does not: {raw[:200]}"
            yield Unreadable(row.number, raw, "row_malformed", message)


def coco_rows(access: Access, path: str, images: str, target: Path) -> None:
    """Write ``target``: id, image_id, caption, file_name, in the order of ids; a caption without picture has none.

    A malformed annotation stands in a column of its own, as JSON, behind the others.

    Daft has been started.

    Raises:
        DataError: the file is of another form.
    """
    import daft

    parts = {"images": target.with_suffix(".images"), "annotations": target.with_suffix(".captions")}
    _divide(access, path, images, parts["images"], parts["annotations"])
    pictures = daft.read_parquet(str(parts["images"]))
    captions = daft.read_parquet(str(parts["annotations"]))
    joined = captions.join(pictures, on="image_id", how="left").sort([*KEPT.names])
    schema = pa.schema([*KEPT, IMAGES.field("file_name")])
    with whole_file(target) as partial, pq.ParquetWriter(partial, schema) as writer:
        for batch in joined.to_arrow_iter():
            writer.write_table(pa.Table.from_batches([batch]).select(schema.names).cast(schema), row_group_size=BATCH)
    for part in parts.values():
        part.unlink()


def _divide(access: Access, path: str, images: str, pictures: Path, captions: Path) -> None:
    prefix = "" if images in ("", ".") else images.rstrip("/") + "/"
    kept: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    with (
        access.open(path) as file,
        pq.ParquetWriter(pictures, IMAGES) as first,
        pq.ParquetWriter(captions, KEPT) as second,
    ):
        writers = {"images": first, "annotations": second}
        seen = set()
        try:
            for key, item in items(file):
                seen.add(key)
                if key == "images" and _fits(item, {"id": int, "file_name": str}):
                    kept[key].append({"image_id": item["id"], "file_name": f"{prefix}{item['file_name']}"})
                elif key == "annotations":
                    kept[key].append(_caption(item))
                if len(kept.get(key, ())) == BATCH:
                    writers[key].write_table(pa.Table.from_pylist(kept[key], writers[key].schema))
                    kept[key] = []
        except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise DataError(f"{path} is no COCO caption file: {type(error).__name__} {error}") from error
        if missing := {"images", "annotations"} - seen:
            raise DataError(f"{path} is no COCO caption file: it has no {' and no '.join(sorted(missing))}")
        for key, rows in kept.items():
            if rows:
                writers[key].write_table(pa.Table.from_pylist(rows, writers[key].schema))


def _caption(item: Any) -> dict[str, Any]:
    """A row of ``KEPT``."""
    if _fits(item, {"id": int, "image_id": int, "caption": (str, type(None))}):
        return {name: item[name] for name in CAPTIONS.names}
    return {MALFORMED.name: json.dumps(item)}


def _fits(item: Any, kinds: Mapping[str, type | tuple[type, ...]]) -> bool:
    """Whether the columns can hold the values of ``item``: whole numbers of 64 bits, and text that is Unicode."""
    if not isinstance(item, dict) or not kinds.keys() <= item.keys():
        return False
    own = [(item[name], kind) for name, kind in kinds.items()]
    return all(isinstance(value, kind) and not isinstance(value, bool) and _storable(value) for value, kind in own)


def _storable(value: Any) -> bool:
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return value is None or -(2**63) <= value < 2**63


def items(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """(key, element) of the lists of one JSON object, (key, value) of what is no list; holds an element at a time.

    Raises:
        ValueError: no JSON object.
    """
    text = _Text(file)
    text.expect("{")
    while text.peek() != "}":
        key = text.value()
        text.expect(":")
        if text.peek() != "[":
            yield key, text.value()
        else:
            text.expect("[")
            while text.peek() != "]":
                yield key, text.value()
                text.skip(",")
            text.expect("]")
        text.skip(",")


class _Text:
    """Characters of a file as far as they are needed for the next value."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.held = ""
        self.at = 0
        self.decoder = json.JSONDecoder()
        self.characters = codecs.getincrementaldecoder("utf-8-sig")()

    def peek(self) -> str:
        """The next character that is no space."""
        while True:
            while self.at < len(self.held) and self.held[self.at] in " \t\r\n":
                self.at += 1
            if self.at < len(self.held):
                return self.held[self.at]
            if not self._more():
                raise ValueError("it ends too early")

    def expect(self, character: str) -> None:
        """Go past a character that has to be next."""
        if self.peek() != character:
            raise ValueError(f"{self.peek()!r} instead of {character!r}")
        self.at += 1

    def skip(self, character: str) -> None:
        """Go past a character if it is next."""
        if self.peek() == character:
            self.at += 1

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.held, self.at)
            except json.JSONDecodeError:
                if not self._more():
                    raise
                continue
            # A number at the end of what is held may go on.
            if end < len(self.held) or not self._more():
                self.at = end
                return value

    def _more(self) -> bool:
        data = self.file.read(BLOCK)
        if not data:
            return False
        self.held, self.at = self.held[self.at :] + self.characters.decode(data), 0
        return True

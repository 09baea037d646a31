"""Tars as media of their pieces: a plan knows a tar by its headers, and content of one size and time has the same ones.

So each piece notes what the file looked like, and a digest of what was read of it. As of other media, equal looks mean
that nothing changed, and of others the content decides.
"""

import hashlib

from data.importing.config import ImportConfig, WebDataset
from data.importing.looks import Eyes, Medium, local_look
from data.importing.places import Access, is_remote
from data.importing.readers.files import name_of
from data.importing.readers.webdataset import WebDatasetReader
from data.importing.rows import Cut, Row, Stored, Unreadable
from model.content import media_digest

CUT = "cut:"


class Contents:
    """What a piece reads of a local tar; of other sources nothing is noted.

    Args:
        config: of the import.
        cut: that the piece is to read, and has not begun to.
    """

    def __init__(self, config: ImportConfig, cut: Cut) -> None:
        self._total = hashlib.blake2b(digest_size=16)
        self._value = CUT + cut.to_json()
        file, tar = cut.place.get("file", ""), isinstance(config.source, WebDataset) and "offset" in cut.place
        self._look = local_look(file) if tar and config.mapping.has_media and not is_remote(file) else None

    def add(self, row: Row | Unreadable) -> None:
        """The next row."""
        if self._look is None:
            return
        self._total.update(row.raw.encode("utf-8", "surrogatepass"))
        for value in row.values.values() if isinstance(row, Row) else ():
            if isinstance(value, Stored) and value.data is not None:
                self._total.update(value.data)

    @property
    def medium(self) -> Medium | None:
        """What to compare later, once all rows have been read."""
        if self._look is None:
            return None
        return Medium(self._value, self._look, media_digest(self.digest), refused=False)

    @property
    def digest(self) -> bytes:
        """Of the rows and media so far."""
        return self._total.digest()


def eyes_of(config: ImportConfig, access: Access) -> Eyes:
    """How to look at the media of an import again, and at its tars."""
    most = config.limits.max_media_bytes
    reader = WebDatasetReader(access, config.source.path, config.mapping.columns, config.sizes.row_bytes, most)

    def look(value: str) -> str:
        return local_look(_cut(value).place["file"]) if value.startswith(CUT) else access.look(value)

    def read(value: str) -> bytes:
        if not value.startswith(CUT):
            return access.read(value, most)
        found = Contents(config, cut := _cut(value))
        for row in reader.read(cut):
            found.add(row)
        return found.digest

    return Eyes(look, read, _shown)


def _cut(value: str) -> Cut:
    return Cut.from_json(value.removeprefix(CUT))


def _shown(value: str) -> str:
    if not value.startswith(CUT):
        return value
    cut = _cut(value)
    return f"rows {cut.first} to {cut.first + cut.rows - 1} in {name_of(cut.place['file'])}"

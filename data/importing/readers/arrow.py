"""Arrow streams, as ``datasets`` saves them to disk. Cuts are record batches; files are mapped, so skipping is free."""

from collections.abc import Collection, Iterator

import pyarrow as pa

from data.importing.places import is_remote, local_path
from data.importing.readers.columnar import (
    MEDIA_BATCH,
    TEXT_BATCH,
    broken_file,
    chosen,
    class_labels,
    is_media,
    rows_of,
    unread_rows,
)
from data.importing.readers.files import digest_of, name_of, parent
from data.importing.rows import Cut, Row, Unreadable
from model.errors import DataError


class ArrowReader:
    """Rows of Arrow stream files.

    Args:
        places: the files, in order.
        columns: that the mapping uses; of the others, those with media are not read.
    """

    def __init__(self, places: list[str], columns: Collection[str]) -> None:
        if remote := [place for place in places if is_remote(place)]:
            raise DataError(f"{remote[0]} is read by mapping it into memory: copy the directory here first")
        self.places = places
        self.columns = columns

    @property
    def base(self) -> str:
        """Directory of the files."""
        return parent(self.places[0])

    def cuts(self, rows: int) -> Iterator[Cut]:
        """Batches, as many together as have so many rows."""
        first = 0
        for place in self.places:
            for cut in _cuts(place, first, rows):
                yield cut
                first += cut.rows

    def read(self, cut: Cut) -> Iterator[Row | Unreadable]:
        """Rows of a cut."""
        place = cut.place["file"]
        if "problem" in cut.place:
            yield broken_file(cut)
            return
        done = 0
        try:
            with pa.memory_map(str(local_path(place))) as source, pa.ipc.open_stream(source) as stream:
                labels = class_labels(stream.schema)
                wanted = chosen(stream.schema, self.columns)
                heavy = any(is_media(stream.schema.field(name).type) for name in wanted)
                step = MEDIA_BATCH if heavy else TEXT_BATCH
                for number in range(cut.place["to"]):
                    batch = stream.read_next_batch()
                    if number < cut.place["from"]:
                        continue
                    batch = batch.select(wanted)
                    for at in range(0, batch.num_rows, step):
                        part = batch.slice(at, step)
                        yield from rows_of(part, cut.first + done, place, cut.place["start"] + done, labels)
                        done += part.num_rows
        except (pa.ArrowException, OSError) as error:
            yield from unread_rows(cut, done, cut.rows, str(error))


def _cuts(place: str, first: int, rows: int) -> Iterator[Cut]:
    path = local_path(place)
    start = held = begin = number = 0
    identity = ""
    problem: str | None = None
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            found = path.stat()
            identity = digest_of(name_of(place), found.st_size, found.st_mtime_ns, str(stream.schema))
            for number, batch in enumerate(stream, 1):
                held += batch.num_rows
                if held >= rows:
                    yield Cut(first, held, {"file": place, "from": begin, "to": number, "start": start}, identity)
                    first, start, held, begin = first + held, start + held, 0, number
    except (pa.ArrowException, OSError, StopIteration) as error:
        problem = str(error)
    if held:
        yield Cut(first, held, {"file": place, "from": begin, "to": number, "start": start}, identity)
        first += held
    if problem is not None:
        yield Cut(first, 1, {"file": place, "problem": problem}, digest_of(place, problem))

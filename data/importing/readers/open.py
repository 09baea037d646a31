"""From a configured source to its reader: one mapping, by kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.importing.config import CommonVoice, ImportConfig
from data.importing.places import Access, is_remote, local_path
from data.importing.readers.columnar import ColumnarReader
from data.importing.readers.delimited import DelimitedReader
from data.importing.readers.files import absolute, digest_of, expand, parent, size_of
from data.importing.readers.folder import FolderReader, metadata_of
from data.importing.readers.huggingface import huggingface_reader
from data.importing.readers.lines import LinesReader
from data.importing.readers.requeue import RequeueReader
from data.importing.readers.webdataset import WebDatasetReader
from data.importing.rows import Reader

Make = Callable[[ImportConfig, Access, str, Path], Reader]
LJSPEECH_NAMES = ("id", "text", "normalized")
FOLDERS = ("folder", "huggingface", "imagefolder", "ljspeech", "common_voice")


def open_source(
    config: ImportConfig, *, home: Path, work: Path, requeue: list[Path] | None = None
) -> tuple[Reader, Access]:
    """Reader of a source, and access to what its rows point to.

    Args:
        config: of the import.
        home: directory that a relative ``source.path`` starts from.
        work: directory of the import, where a reader may keep what it made.
        requeue: quarantined rows to read instead of the source.

    Raises:
        DataError: there is no such source.
    """
    path = absolute(config.source.path, home)
    base = path if config.source.kind in FOLDERS else parent(path)
    places = config.places
    if places.base is not None:
        places = places.model_copy(update={"base": absolute(places.base, home)})
    places = places.model_copy(update={"roots": tuple(absolute(root, home) for root in places.roots)})
    access = Access(places, base, getattr(config.source, "unpacking", None))
    if requeue is not None:
        return RequeueReader(requeue, base), access
    return READERS[config.source.kind](config, access, path, work), access


def _lines(config: ImportConfig, access: Access, path: str, _: Path) -> Reader:
    return LinesReader(access, path, config.sizes.row_bytes)


def _delimited(config: ImportConfig, access: Access, path: str, _: Path) -> Reader:
    source: Any = config.source
    options = {"delimiter": source.delimiter, "quotes": source.quotes, "names": source.names}
    return DelimitedReader(access, path, config.sizes.row_bytes, **options)


def _columnar(config: ImportConfig, access: Access, path: str, _: Path) -> Reader:
    return ColumnarReader(access, path, config.mapping.columns)


def _folder(config: ImportConfig, _: Access, path: str, __: Path) -> Reader:
    return FolderReader(path, config.sizes.row_bytes)


def _webdataset(config: ImportConfig, access: Access, path: str, _: Path) -> Reader:
    sizes = (config.sizes.row_bytes, config.limits.max_media_bytes)
    return WebDatasetReader(access, path, config.mapping.columns, *sizes)


def _huggingface(config: ImportConfig, access: Access, path: str, _: Path) -> Reader:
    return huggingface_reader(access, path, getattr(config.source, "split", None), config.mapping.columns)


def _imagefolder(config: ImportConfig, access: Access, path: str, work: Path) -> Reader:
    found = metadata_of(local_path(path))
    make = {".jsonl": _lines, ".csv": _delimited_plain, ".parquet": _columnar}[found.suffix]
    return make(config, access, str(found), work)


def _delimited_plain(config: ImportConfig, access: Access, path: str, _: Path) -> Reader:
    return DelimitedReader(access, path, config.sizes.row_bytes)


def _coco(config: ImportConfig, access: Access, path: str, work: Path) -> Reader:
    from data.importing.readers.coco import CocoReader, coco_rows

    (path,) = expand(access, path)[:1]
    made_of = digest_of(
        path, size_of(access, path), *([] if is_remote(path) else [local_path(path).stat().st_mtime_ns])
    )
    rows = work / f"coco-{made_of}.parquet"
    if not rows.is_file():
        coco_rows(access, path, getattr(config.source, "images", "."), rows)
    return CocoReader(access, str(rows), config.mapping.columns, path)


def _ljspeech(config: ImportConfig, access: Access, path: str, _: Path) -> Reader:
    file = f"{path.rstrip('/')}/metadata.csv"
    options: dict[str, Any] = {"delimiter": "|", "quotes": False, "names": LJSPEECH_NAMES}
    return DelimitedReader(access, file, config.sizes.row_bytes, **options)


def _common_voice(config: ImportConfig, access: Access, path: str, _: Path) -> Reader:
    assert isinstance(config.source, CommonVoice)
    file = f"{path.rstrip('/')}/{config.source.split}.tsv"
    return DelimitedReader(access, file, config.sizes.row_bytes, delimiter="\t", quotes=False)


READERS: dict[str, Make] = {
    "jsonl": _lines,
    "csv": _delimited,
    "parquet": _columnar,
    "folder": _folder,
    "webdataset": _webdataset,
    "huggingface": _huggingface,
    "imagefolder": _imagefolder,
    "coco": _coco,
    "ljspeech": _ljspeech,
    "common_voice": _common_voice,
}

"""What an import is told: where the rows are, what they mean, what may be fetched."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from data.importing.mapping import Mapping
from model.config import Config
from model.encoder import Limits

NAME = r"[a-z0-9][a-z0-9._-]{0,63}"
TEXT_ROWS, MEDIA_ROWS = 20_000, 2_000


class Lines(Config):
    """JSON Lines: one object a line. ``path`` may be a pattern such as ``rows-*.jsonl``."""

    kind: Literal["jsonl"]
    path: str = Field(min_length=1)


class Delimited(Config):
    """CSV, TSV and their kin. ``names`` for files without a header; ``quotes: false`` where quotes are plain text."""

    kind: Literal["csv"]
    path: str = Field(min_length=1)
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    quotes: bool = True
    names: tuple[str, ...] | None = None


class Columnar(Config):
    """Parquet with paths, URIs, binary columns, or structs of ``bytes`` and ``path`` as Hugging Face writes them."""

    kind: Literal["parquet"]
    path: str = Field(min_length=1)


class Folder(Config):
    """A folder of media with captions beside them: ``cat.jpg`` and ``cat.txt`` or ``cat.json``.

    Columns: ``file`` (path in the folder), ``stem``, ``folder`` (of the file), ``text`` (the .txt), the keys of the
    .json. ``modality`` says which files are media; the others of the same stem are sidecars.
    """

    kind: Literal["folder"]
    path: str = Field(min_length=1)
    modality: Literal["image", "audio", "video", "document"]


class Unpacking(Config):
    """How far a compressed file may unpack before it counts as a bomb.

    Attributes:
        max_bytes: of one file.
        max_ratio: unpacked to packed bytes, once 64 MiB have been unpacked.
    """

    max_bytes: int = Field(default=256 << 30, ge=1)
    max_ratio: int = Field(default=200, ge=1)


class WebDataset(Config):
    """Tars of samples: files of one basename are one row, with a column for each extension.

    Text of .txt, .cls and .json is read (a .json gives nested columns: ``json.caption``); others are media. ``__key__``
    is the common basename. Tars are read in place; those packed by gzip or zstd are unpacked as they are read.
    """

    kind: Literal["webdataset"]
    path: str = Field(min_length=1)
    unpacking: Unpacking = Unpacking()


class HuggingFace(Config):
    """A directory of ``datasets``: written by ``save_to_disk`` (Arrow) or downloaded from the hub (Parquet).

    ``split`` picks one of several; class labels are read as their names.
    """

    kind: Literal["huggingface"]
    path: str = Field(min_length=1)
    split: str | None = None


class ImageFolder(Config):
    """The ``imagefolder`` form: files and a ``metadata.jsonl`` or ``metadata.csv`` with a column ``file_name``."""

    kind: Literal["imagefolder"]
    path: str = Field(min_length=1)


class Coco(Config):
    """COCO captions: one JSON with ``images`` and ``annotations``; ``images`` is the folder of the pictures.

    A row is a caption. Columns: ``id``, ``image_id``, ``caption`` and ``file_name``.
    """

    kind: Literal["coco"]
    path: str = Field(min_length=1)
    images: str = "."


class LJSpeech(Config):
    """The LJSpeech form: ``metadata.csv`` (``id|text|normalized``) and ``wavs/<id>.wav``."""

    kind: Literal["ljspeech"]
    path: str = Field(min_length=1)


class CommonVoice(Config):
    """A Common Voice language: ``<split>.tsv`` and ``clips/``; columns as in the file."""

    kind: Literal["common_voice"]
    path: str = Field(min_length=1)
    split: str = "validated"


Source = Annotated[
    Lines | Delimited | Columnar | Folder | WebDataset | HuggingFace | ImageFolder | Coco | LJSpeech | CommonVoice,
    Field(discriminator="kind"),
]


class Places(Config):
    """What paths and URIs in the rows may point to.

    Attributes:
        base: directory that relative paths start from; default: that of the source.
        roots: further directories that may be read; ``base`` always may. Links are followed before looking.
        schemes: of URIs that may be fetched, such as ``https`` or ``s3``; none by default.
        hosts: hosts, or buckets, that may be fetched from; ``*.example.org`` includes all below it.
        seconds: the longest a fetch may take.
        retries: of a fetch that failed for a reason that may pass.
    """

    base: str | None = None
    roots: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    seconds: float = Field(default=30.0, gt=0)
    retries: int = Field(default=2, ge=0, le=10)

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if bool(self.schemes) != bool(self.hosts):
            raise ValueError("schemes and hosts go together: nothing is fetched unless both allow it")
        return self


class Sizes(Config):
    """How the work is cut. The shards depend on these, and not on how many workers there are.

    Attributes:
        piece_rows: rows of a piece, which is done whole or again; default: 20,000 of texts, 2,000 with media.
        shard_bytes: media in a shard, about.
        row_bytes: the longest row that is read.
        text_chars: the longest text that is taken.
        level: of the zstd compression of everything but media, which are compressed already.
    """

    piece_rows: int | None = Field(default=None, ge=1, le=1_000_000)
    shard_bytes: int = Field(default=256 * 2**20, ge=1)
    row_bytes: int = Field(default=16 * 2**20, ge=64)
    text_chars: int = Field(default=100_000, ge=1)
    level: int = Field(default=6, ge=1, le=22)


class ImportConfig(Config):
    """One import: one source, into the shards ``<name>-00000.parquet`` and on.

    Attributes:
        name: of the source, which records carry and shards are named by.
        source: where the rows are.
        mapping: what they mean.
        places: what they may point to.
        limits: of media, looked at before anything is decoded; as those of the encoder that will read them.
        sizes: how the work is cut.
    """

    name: str = Field(pattern=f"^{NAME}$")
    source: Source
    mapping: Mapping
    places: Places = Places()
    limits: Limits = Limits()
    sizes: Sizes = Sizes()

    @model_validator(mode="before")
    @classmethod
    def _with_convention(cls, given: Any) -> Any:
        """A mapping adds to what the convention of the source says, and overrides it."""
        if not isinstance(given, dict) or not isinstance(given.get("source"), dict):
            return given
        convention = CONVENTIONS.get(str(given["source"].get("kind")), {})
        mapping = given.get("mapping", {})
        return {**given, "mapping": {**convention, **mapping}} if isinstance(mapping, dict) else given

    @property
    def piece_rows(self) -> int:
        """Rows of a piece."""
        return self.sizes.piece_rows or (MEDIA_ROWS if self.mapping.has_media else TEXT_ROWS)


# What a convention says already; a mapping overrides any of it.
CONVENTIONS: dict[str, dict[str, Any]] = {
    "coco": {
        "query": [{"modality": "text", "column": "caption"}],
        "positives": [[{"modality": "image", "column": "file_name"}]],
        "group": {"column": "file_name"},
    },
    "ljspeech": {
        "query": [{"modality": "audio", "template": "wavs/{id}.wav"}],
        "positives": [[{"modality": "text", "column": "normalized"}]],
        "id": {"column": "id"},
    },
    "common_voice": {
        "query": [{"modality": "audio", "template": "clips/{path}"}],
        "positives": [[{"modality": "text", "column": "sentence"}]],
        "languages": [{"column": "locale"}],
        "license": "CC0-1.0",
    },
    "imagefolder": {
        "query": [{"modality": "text", "column": "text"}],
        "positives": [[{"modality": "image", "column": "file_name"}]],
    },
}

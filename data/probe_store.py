"""Probes as stored columns: one Parquet sidecar for each shard, ``<corpus>/probes/<shard stem>.parquet``.

The subdirectory keeps sidecars out of sight of whoever looks for shards. A sidecar names the digest of its shard, the
version of the probes and the limits they were made under; one that disagrees is ignored and the probes are made again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.probes import PROBE_VERSION, Probe
from data.shards import shard_paths
from data.text_probes import TextProbe
from model.encoder import Limits
from model.files import whole_file
from model.integrity import file_digest

DIRECTORY = "probes"
FORMAT = b"probes/1"
ROWS_PER_GROUP = 65_536
NAME = pa.dictionary(pa.int32(), pa.string())
MEDIA = pa.schema(
    [
        ("digest", pa.string()),
        ("modality", NAME),
        ("size", pa.int64()),
        ("code", NAME),
        ("message", pa.string()),
        ("container", NAME),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("seconds", pa.float64()),
        ("rate", pa.int32()),
        ("channels", pa.int32()),
        ("frames", pa.int32()),
        ("blank", pa.bool_()),
        ("silent", pa.bool_()),
        ("silence", pa.float32()),
        ("finite", pa.bool_()),
        ("hashes", pa.list_(pa.uint64())),
    ]
)
TEXTS = pa.schema(
    [
        ("digest", pa.string()),
        ("characters", pa.int32()),
        ("letters", pa.int32()),
        ("script", NAME),
        ("language", NAME),
        ("confidence", pa.float32()),
        ("replaced", pa.int32()),
        ("controls", pa.int32()),
        ("mojibake", pa.bool_()),
    ]
)
BOTH = pa.schema([("kind", NAME), *MEDIA, *(field for field in TEXTS if field.name != "digest")])


@dataclass(frozen=True)
class ShardProbes:
    """Findings about one shard: a row for each medium in stored order (``MEDIA``), one for each text (``TEXTS``)."""

    shard: Path
    media: pa.Table
    texts: pa.Table

    def probes(self) -> list[Probe]:
        """The findings about media as objects."""
        rows = self.media.to_pylist()
        return [Probe(**{**row, "hashes": tuple(row["hashes"] or ())}) for row in rows]


def sidecar(corpus: Path, shard: Path) -> Path:
    """Where the probes of a shard are stored."""
    return corpus / DIRECTORY / f"{shard.stem}.parquet"


def write_probes(
    corpus: Path, shard: Path, probes: Iterable[Probe], texts: Iterable[TextProbe] = (), *, limits: Limits
) -> Path:
    """Write the probes of a shard that is on disk already; the sidecar is replaced atomically.

    Args:
        corpus: directory of the shard.
        shard: the shard, digested here.
        probes: findings about its media, in stored order.
        texts: findings about its distinct texts.
        limits: under which the probes were made.
    """
    return write_tables(corpus, ShardProbes(shard, media_table(probes), text_table(texts)), limits=limits)


def write_tables(corpus: Path, found: ShardProbes, *, limits: Limits, digest: str | None = None) -> Path:
    """As :func:`write_probes`, of tables; ``digest`` is the shard's SHA-256 where it is known already."""
    facts = _facts(digest or file_digest(found.shard), limits)
    path = sidecar(corpus, found.shard)
    with whole_file(path) as partial, pq.ParquetWriter(partial, BOTH.with_metadata(facts), compression="zstd") as out:
        for kind, table in (("media", found.media), ("text", found.texts)):
            if table.num_rows:
                out.write_table(_widened(kind, table).replace_schema_metadata(facts), row_group_size=ROWS_PER_GROUP)
    return path


def read_probes(corpus: Path, *, limits: Limits | None = None) -> Iterator[ShardProbes]:
    """The stored probes of a corpus, shard by shard; shards without a valid sidecar are left out.

    Args:
        corpus: directory of shards.
        limits: accept only probes made under these; of any limits without.
    """
    for shard in shard_paths(corpus):
        found = probes_of(corpus, shard, limits=limits)
        if found is not None:
            yield found


def probes_of(
    corpus: Path, shard: Path, *, limits: Limits | None = None, digest: str | None = None
) -> ShardProbes | None:
    """The stored probes of one shard, or ``None`` when there are none that are valid for its bytes."""
    path = sidecar(corpus, shard)
    if not path.is_file():
        return None
    try:
        with pq.ParquetFile(path) as file:
            if not _valid(file.schema_arrow, shard, limits, digest):
                return None
            table = file.read()
    except (pa.ArrowException, OSError):  # damaged, or not ours: made again like a stale one
        return None
    is_media = pc.equal(table["kind"].cast(pa.string()), "media")
    media, texts = table.filter(is_media), table.filter(pc.invert(is_media))
    return ShardProbes(shard, media.select(MEDIA.names).cast(MEDIA), texts.select(TEXTS.names).cast(TEXTS))


def media_table(probes: Iterable[Probe]) -> pa.Table:
    """Findings about media as a table of ``MEDIA``."""
    return _table(list(probes), MEDIA)


def text_table(probes: Iterable[TextProbe]) -> pa.Table:
    """Findings about texts as a table of ``TEXTS``."""
    return _table(list(probes), TEXTS)


def _table(probes: list[Probe] | list[TextProbe], schema: pa.Schema) -> pa.Table:
    return pa.table(
        {field.name: pa.array([getattr(probe, field.name) for probe in probes], field.type) for field in schema},
        schema=schema,
    )


def _widened(kind: str, table: pa.Table) -> pa.Table:
    rows = table.num_rows
    kinds = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), [kind])
    columns = [table[f.name] if f.name in table.schema.names else pa.nulls(rows, f.type) for f in [*BOTH][1:]]
    return pa.table([kinds, *columns], schema=BOTH)


def _facts(digest: str, limits: Limits) -> dict[bytes, bytes]:
    facts = {"omnivec": FORMAT.decode(), "version": str(PROBE_VERSION), "shard": digest, "limits": limits.digest()}
    return {key.encode(): value.encode() for key, value in facts.items()}


def _valid(schema: pa.Schema, shard: Path, limits: Limits | None, digest: str | None) -> bool:
    found = schema.metadata or {}
    if not BOTH.equals(schema.remove_metadata()) or found.get(b"omnivec") != FORMAT:
        return False
    if limits is not None and found.get(b"limits") != limits.digest().encode():
        return False
    # The digest comes last: it costs reading the whole shard.
    version = found.get(b"version") == str(PROBE_VERSION).encode()
    return version and found.get(b"shard") == (digest or file_digest(shard)).encode()

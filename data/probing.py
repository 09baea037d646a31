"""Probes of whole corpora: what is stored and valid is reused, the rest is made on threads, with flat memory.

Threads, not processes or Daft tasks: decoders, transforms and hashes release the interpreter lock, so two threads keep
two cores busy, while processes pay for starting, importing and sending (`docs/guides/validate.md` has the comparison).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from data.probe_store import MEDIA, TEXTS, ShardProbes, media_table, probes_of, text_table
from data.probes import Probe, probe_media
from data.scan import ROLES, UNREADABLE, count_rows, media_batches, record_batches, texts_of
from data.text_probes import TextProbe, probe_texts, warm_up
from model.encoder import Limits
from model.progress import progress

WORKERS = 2
# What waits or runs: enough that threads never wait for the reader, little enough that it does not count.
AHEAD = 64
AHEAD_BYTES = 64 * 2**20
TEXTS_PER_JOB = 512
ROWS_PER_TABLE = 2_048


class Unreadable(NamedTuple):
    """A shard that cannot be read, and why."""

    shard: Path
    message: str


class _Job(NamedTuple):
    """One medium, or some texts, of a shard."""

    shard: Path
    medium: tuple[str, str, bytes] | None = None
    texts: Sequence[str] = ()
    problem: str | None = None
    ticks: int = 1

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self.medium[2]) if self.medium else 0


_Result = tuple[_Job, Probe | list[TextProbe] | None]


def probe_shards(
    corpus: Path, paths: Sequence[Path], limits: Limits, *, workers: int = WORKERS
) -> Iterator[ShardProbes | Unreadable]:
    """Find the probes of shards, in their order.

    Args:
        corpus: directory whose stored probes may be used; nothing is written there.
        paths: the shards.
        limits: under which media are decoded.
        workers: threads.
    """
    stored: dict[Path, ShardProbes] = {}
    total = 0
    for path in paths:
        found = probes_of(corpus, path, limits=limits)
        if found is not None:
            stored[path] = found
        total += _work(path, found)
    if total:
        warm_up()
    with ThreadPoolExecutor(workers) as pool:
        done = _ahead(pool, limits, _jobs(paths, stored))
        # A shard that cannot be read counts as no row and has its result all the same.
        ticking = progress(_ticks(done), total=total, desc="probes", unit="row") if total else _ticks(done)
        yield from _gathered(paths, stored, (result for result in ticking if result is not None))


def _ahead(pool: ThreadPoolExecutor, limits: Limits, jobs: Iterable[_Job]) -> Iterator[_Result]:
    """Results in order, as of ``pool.map``, which would take all jobs at once: here few of them are in flight."""
    waiting: deque[tuple[Future[_Result], int]] = deque()
    held = 0
    for job in jobs:
        held += job.size
        waiting.append((pool.submit(_run, job, limits), job.size))
        while len(waiting) > AHEAD or (held > AHEAD_BYTES and len(waiting) > 1):
            future, size = waiting.popleft()
            held -= size
            yield future.result()
    for future, _ in waiting:
        yield future.result()


def _work(path: Path, found: ShardProbes | None) -> int:
    """Ticks of a shard: one a medium, and one a record when texts are to be probed."""
    try:
        records, media = count_rows(path)
    except UNREADABLE:
        return 0
    if found is None:
        return media + records
    return 0 if found.texts.num_rows else records


def _jobs(paths: Sequence[Path], stored: dict[Path, ShardProbes]) -> Iterator[_Job]:
    for path in paths:
        try:
            if path not in stored:
                for batch in media_batches(path):
                    columns = (batch[name].to_pylist() for name in ("id", "modality", "bytes"))
                    for digest, modality, data in zip(*columns, strict=True):
                        yield _Job(path, (str(digest), str(modality), data or b""))
            if path not in stored or not stored[path].texts.num_rows:
                yield from _text_jobs(path)
        except UNREADABLE as error:
            yield _Job(path, problem=f"{type(error).__name__}: {error}")


def _text_jobs(path: Path) -> Iterator[_Job]:
    for batch in record_batches(path, ROLES):
        texts = texts_of(batch)
        left = batch.num_rows
        for at in range(0, len(texts), TEXTS_PER_JOB):
            chunk = texts[at : at + TEXTS_PER_JOB].to_pylist()
            share = left if at + TEXTS_PER_JOB >= len(texts) else batch.num_rows * len(chunk) // len(texts)
            left -= share
            yield _Job(path, texts=chunk, ticks=share)


def _run(job: _Job, limits: Limits) -> _Result:
    if job.problem is not None:
        return job, None
    if job.medium is None:
        return job, list(probe_texts(job.texts))
    digest, modality, data = job.medium
    return job._replace(medium=None), probe_media(digest, modality, data, limits)


def _ticks(results: Iterable[_Result]) -> Iterator[_Result | None]:
    """Each result, and nothing as often as it stands for further rows: progress counts what it is given."""
    for job, found in results:
        yield job, found
        yield from [None] * (job.ticks - 1)


def _gathered(
    paths: Sequence[Path], stored: dict[Path, ShardProbes], results: Iterator[_Result]
) -> Iterator[ShardProbes | Unreadable]:
    waiting = next(results, None)
    for path in paths:
        media = _Rows(MEDIA, media_table)
        texts = _Rows(TEXTS, text_table)
        problem = None
        while waiting is not None and waiting[0].shard == path:
            job, found = waiting
            problem = job.problem or problem
            if isinstance(found, Probe):
                media.add([found])
            elif found is not None:
                texts.add(found)
            waiting = next(results, None)
        if problem is not None:
            yield Unreadable(path, problem)
        elif path in stored:
            known = stored[path]
            yield known if known.texts.num_rows else ShardProbes(path, known.media, distinct(texts.table()))
        else:
            yield ShardProbes(path, media.table(), distinct(texts.table()))


class _Rows:
    """Findings on their way into a table: as objects they take ten times the memory."""

    def __init__(self, schema: pa.Schema, convert: Callable[[list[Any]], pa.Table]) -> None:
        self.schema, self.convert = schema, convert
        self.tables: list[pa.Table] = []
        self.waiting: list[Any] = []

    def add(self, found: Sequence[Any]) -> None:
        self.waiting += found
        if len(self.waiting) >= ROWS_PER_TABLE:
            self._flush()

    def table(self) -> pa.Table:
        self._flush()
        return pa.concat_tables([self.schema.empty_table(), *self.tables]).unify_dictionaries().combine_chunks()

    def _flush(self) -> None:
        if self.waiting:
            self.tables.append(self.convert(self.waiting))
            self.waiting = []


def distinct(texts: pa.Table) -> pa.Table:
    """The rows of a table of text probes without repetitions of a digest."""
    if not texts.num_rows:
        return texts
    numbered = pa.table({"digest": texts["digest"], "row": pa.array(range(texts.num_rows), pa.int64())})
    first = numbered.group_by("digest", use_threads=False).aggregate([("row", "min")])["row_min"]
    return texts if len(first) == texts.num_rows else texts.take(first)

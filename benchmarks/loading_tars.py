"""From storage to ready batches: our shards and loader against webdataset, on the same media in the same order.

Both sides make the batches by the same pre-processing, so what differs is where the bytes lie (Parquet as an import
writes it, against tars as ``webdataset.TarWriter`` writes them), how they are found (by digest, against one after
another) and what carries batches from the workers. Seconds count from the first batch on.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.loading import BATCH, PREFETCH, Sample, Sides, SideWork, samples_of, seconds
from benchmarks.rows import BenchmarkError, Row
from benchmarks.setting import Setting
from data.access import MediaAccess
from data.records import PartRef
from data.shards import Packing, ShardWriter
from model.content import Content, Modality, Part, media_digest
from model.training.families import preprocessing_of
from model.training.loading import Loading
from model.unified.batch import UnifiedBatch

MODALITIES = (Modality.IMAGE, Modality.AUDIO)
WORKERS = (0, 1, 2)
TARS = 2
BATCHES_PER_TAR = 12
PACKING = Packing(level=6, media=False)
Side = Callable[[], Iterable[UnifiedBatch]]


@dataclass(frozen=True)
class FromTar:
    """From samples of webdataset to a batch: the same work as on our side."""

    modality: Modality
    preprocess: Callable[[Sequence[Content]], Any]

    def __call__(self, samples: Sequence[dict[str, Any]]) -> UnifiedBatch:
        """The batch."""
        found: UnifiedBatch = self.preprocess(
            [Content((Part(self.modality, data=sample["bin"]),)) for sample in samples]
        )
        return found


def write_both(folder: Path, data: Sequence[bytes], modality: Modality) -> tuple[list[Sample], list[str]]:
    """The media as a shard, and as tars."""
    import webdataset

    shard = folder / "media.parquet"
    samples: list[Sample] = []
    with ShardWriter(shard, PACKING) as writer:
        for one in data:
            digest = media_digest(one)
            writer.add_media(digest, modality, one)
            samples.append(Sample(shard, PartRef(modality, media=digest)))
    tars = []
    share = len(data) // TARS
    for number in range(TARS):
        tars.append(str(folder / f"media-{number}.tar"))
        with webdataset.TarWriter(tars[-1]) as tar:
            for i in range(number * share, (number + 1) * share):
                tar.write({"__key__": f"{i:08d}", "bin": data[i]})
    return samples, tars


def tar_batches(tars: Sequence[str], size: int, work: FromTar, workers: int) -> Iterable[UnifiedBatch]:
    """Batches by webdataset and the loader of torch."""
    import webdataset

    dataset = webdataset.WebDataset(list(tars), shardshuffle=False, empty_check=False)
    dataset = dataset.batched(size, collation_fn=work, partial=False)
    options: dict[str, Any] = {"prefetch_factor": PREFETCH, "multiprocessing_context": "forkserver"} if workers else {}
    return DataLoader(dataset, batch_size=None, num_workers=workers, **options)


def tars_row(setting: Setting, *, modality: Modality, workers: int) -> Row:
    """Samples per second of both sides in turn."""
    size = BATCH[modality]
    counted = TARS * BATCHES_PER_TAR - 1
    preprocess = preprocessing_of(setting.encoder)
    with tempfile.TemporaryDirectory() as scratch:
        access = MediaAccess()
        chosen = samples_of(setting.corpus, modality, size * (counted + 1))
        data = [access(one.shard, one.part.media) for one in chosen if one.part.media is not None]
        samples, tars = write_both(Path(scratch), data, modality)
        own, other = SideWork(MediaAccess(), preprocess), FromTar(modality, preprocess)
        _same(own(samples[:size]), next(iter(tar_batches(tars, size, other, 0))), modality)

        def ours() -> Iterable[UnifiedBatch]:
            made: Any = Sides(samples, size, SideWork(MediaAccess(), preprocess))
            return Loading(made, counted + 1, lambda: 0, workers=workers, prefetch=PREFETCH)

        def theirs() -> Iterable[UnifiedBatch]:
            return tar_batches(tars, size, other, workers)

        measure = whole if workers else interleaved
        turns = [measure(ours, theirs, counted, turn) for turn in range(setting.rounds)]
    timed, weight = size * counted, sum(map(len, data)) / len(data) / 1e3
    return Row(
        name=f"loading-tars-{modality}-{workers}",
        ours=round(timed / statistics.median(one for one, _ in turns), 1),
        peer="webdataset, the same pre-processing",
        peer_value=round(timed / statistics.median(one for _, one in turns), 1),
        ratio=round(statistics.median(theirs / ours for ours, theirs in turns), 3),
        unit="samples/s",
        hardware=setting.hardware,
        note=f"{workers} workers, batches of {size}, {timed} samples of {weight:.1f} kB, "
        f"{TARS} tars, {setting.rounds} rounds, {'sides' if workers else 'batches'} in turn",
    )


def whole(ours: Side, theirs: Side, counted: int, turn: int) -> tuple[float, float]:
    """Seconds of each side, one after the other: workers of both at once would share the processors."""
    spent = {side: seconds(side(), counted) for side in ((ours, theirs) if turn % 2 == 0 else (theirs, ours))}
    return spent[ours], spent[theirs]


def interleaved(ours: Side, theirs: Side, counted: int, turn: int) -> tuple[float, float]:
    """Seconds of each side, batch by batch in turn, where every second pair begins with the other side."""
    running: list[Iterator[Any]] = [iter(ours()), iter(theirs())]
    spent = [0.0, 0.0]
    for number in range(counted + 1):
        for side in (0, 1) if (number + turn) % 2 == 0 else (1, 0):
            began = time.perf_counter()
            next(running[side])
            spent[side] += (time.perf_counter() - began) * (number > 0)
    return spent[0], spent[1]


def _same(ours: UnifiedBatch, theirs: UnifiedBatch, modality: Modality) -> None:
    """Refuse to compare unless both sides give the same numbers.

    Raises:
        BenchmarkError: they do not.
    """
    sides = [[one for call in batch.media[modality.value].calls for one in call.inputs] for batch in (ours, theirs)]
    equal = len(sides[0]) == len(sides[1]) and all(
        torch.equal(torch.as_tensor(one), torch.as_tensor(other)) for one, other in zip(*sides, strict=True)
    )
    if not equal:
        raise BenchmarkError(f"the two sides make different batches of {modality}, so the comparison means nothing")


ROWS: dict[str, Callable[[Setting], Row]] = {
    f"loading-tars-{modality}-{workers}": partial(tars_row, modality=modality, workers=workers)
    for modality in MODALITIES
    for workers in WORKERS
}

"""From shards to ready batches: our loader against a plain torch ``DataLoader`` with the usual decoding of each sample.

Both sides make batches of the same samples in the same order, with as many workers, to arrays of the same sizes and
types: pictures stay bytes on either side, though many scripts make floats of them in the worker. The
peer holds the encoded bytes of all samples in memory; ours reads them from the shards, and checks limits and damage.
Seconds count from the first batch on, so starting the workers does not.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.rows import BenchmarkError, Row
from benchmarks.setting import Setting
from data.access import MediaAccess
from data.records import PartRef, Record
from data.shards import read_records, shard_paths, write_shard
from model.content import Content, Modality, Part, media_digest
from model.media.mel import SAMPLE_RATE
from model.training.families import preprocessing_of
from model.training.loading import Loading
from model.unified.batch import UnifiedBatch
from model.unified.config import UnifiedConfig

WORKERS = (0, 1, 2)
BATCH = {Modality.TEXT: 64, Modality.IMAGE: 32, Modality.AUDIO: 16, Modality.VIDEO: 8, Modality.DOCUMENT: 8}
BATCHES = 16
TEXT_BATCHES = 256  # texts take so little that the start of the last worker would be most of a short run
PREFETCH = 2
PEER = "torch DataLoader, decoding by {}"


@dataclass(frozen=True)
class Sample:
    """A part, as a shard has it."""

    shard: Path
    part: PartRef


@dataclass(frozen=True)
class SideWork:
    """Makes one side of a batch of samples: what a worker of a stage does."""

    media: MediaAccess
    preprocess: Callable[[Sequence[Content]], Any]

    def __call__(self, samples: Sequence[Sample]) -> UnifiedBatch:
        """The batch."""
        parts = [
            Part(p.modality, text=p.text) if p.media is None else Part(p.modality, data=self.media(s.shard, p.media))
            for s in samples
            for p in (s.part,)
        ]
        found: UnifiedBatch = self.preprocess([Content((part,)) for part in parts])
        return found


class Sides:
    """Batches of consecutive samples, split as a stage's are."""

    def __init__(self, samples: Sequence[Sample], size: int, work: SideWork) -> None:
        self.samples = samples
        self.size = size
        self.work = work

    def order(self, step: int) -> Sequence[Sample]:
        """Samples of a step."""
        return self.samples[step * self.size : (step + 1) * self.size]

    def finish(self, made: Any) -> Any:
        """Nothing is left to do."""
        return made

    def __call__(self, step: int) -> Any:
        """The batch of a step."""
        return self.work(self.order(step))


class Decoded(Dataset[Tensor]):
    """What a plain training script does for each sample."""

    def __init__(self, decode: Callable[[Any], Tensor], data: Sequence[Any]) -> None:
        self.decode = decode
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: int) -> Tensor:
        return self.decode(self.data[place])


def picture(data: bytes, size: int) -> Tensor:
    """Pixels [3, S, S] by Pillow."""
    from PIL import Image

    return _pixels(Image.open(io.BytesIO(data)), size)


def clip(data: bytes, size: int, frames: int) -> Tensor:
    """Frames [F, 3, S, S], the middles of equal parts, by PyAV and Pillow."""
    import av

    with av.open(io.BytesIO(data), mode="r") as file:
        shown = [frame.to_image() for frame in file.decode(video=0)]  # type: ignore[no-untyped-call]
    places = ((np.arange(frames) + 0.5) * len(shown) / frames).astype(int)
    return torch.stack([_pixels(shown[place], size) for place in places])


def sound(data: bytes, window: int, extractor: Any) -> Tensor:
    """Log-mel windows, one after another [T, M], by soundfile, soxr and the feature extractor of transformers."""
    import soundfile
    import soxr

    wave, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    mono = soxr.resample(wave.mean(1), rate, SAMPLE_RATE)[:window]
    made = extractor(mono, sampling_rate=SAMPLE_RATE, padding="longest", return_tensors="pt")
    found: Tensor = made["input_features"][0].T
    return found


def document(data: bytes, size: int) -> Tensor:
    """Pages [P, 3, S, S] by pypdfium2, in the worker itself."""
    import pypdfium2

    file = pypdfium2.PdfDocument(data)
    pages = [page.render(scale=size / max(page.get_size())).to_pil() for page in file]
    return torch.stack([_pixels(page, size) for page in pages])


def text(value: str, tokenizer: Any, limit: int) -> Tensor:
    """Token ids [L] by tokenizers."""
    return torch.tensor(tokenizer.encode(value).ids[:limit])


def padded(tensors: list[Tensor]) -> Tensor:
    """One tensor, the first axis padded."""
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)


def _pixels(shown: Any, size: int) -> Tensor:
    from PIL import Image

    scaled = shown.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(scaled).transpose(2, 0, 1))


def _decoder(modality: Modality, setting: Setting) -> tuple[str, Callable[[Any], Tensor]]:
    config: UnifiedConfig = setting.encoder.config
    if modality is Modality.TEXT:
        tokenizer = setting.encoder.preprocessor.tokenizer
        return "tokenizers", partial(text, tokenizer=tokenizer, limit=config.max_text_tokens + 2)
    if modality is Modality.IMAGE:
        return "Pillow", partial(picture, size=config.image.size)
    if modality is Modality.VIDEO:
        return "PyAV and Pillow", partial(clip, size=config.video.size, frames=config.video.max_frames)
    if modality is Modality.DOCUMENT:
        return "pypdfium2 and Pillow, unconfined", partial(document, size=config.image.size)
    from transformers import WhisperFeatureExtractor

    window = round(config.audio.window_seconds * SAMPLE_RATE)
    bands = getattr(config.audio_tower, "mel_bands", 80)
    return "soundfile, soxr and transformers", partial(sound, window=window, extractor=WhisperFeatureExtractor(bands))


def samples_of(corpus: Path, modality: Modality, count: int) -> list[Sample]:
    """Parts of the training split, distinct ones first, spread over the shards by their digests."""
    found: dict[str, Sample] = {}
    for shard in shard_paths(corpus):
        for record in read_records(shard, splits=("train",)):
            for part in (p for content in (record.query, *record.positives) for p in content):
                if part.modality is modality:
                    found.setdefault(part.media or media_digest((part.text or "").encode()), Sample(shard, part))
    if not found:
        raise BenchmarkError(f"{corpus} has no {modality} in its training split")
    chosen = [found[name] for name in sorted(found)][:count]
    return [chosen[i % len(chosen)] for i in range(count)]


def documents(directory: Path, count: int) -> Path:
    """A corpus of documents of two pages, drawn here: no corpus of ours has any."""
    from PIL import Image

    media: dict[str, tuple[Modality, bytes]] = {}
    for seed in range(count):
        rng = np.random.default_rng(seed)
        pages = [Image.fromarray(rng.integers(0, 255, (55, 40, 3), dtype=np.uint8)).resize((600, 825)) for _ in "ab"]
        pages[0].save(file := io.BytesIO(), "PDF", save_all=True, append_images=pages[1:])
        media[media_digest(file.getvalue())] = (Modality.DOCUMENT, file.getvalue())
    content = [(PartRef(Modality.DOCUMENT, media=digest),) for digest in media]
    rows = [
        Record(f"made/{i}", "made", one, (one,), (), "made", ("und",), "CC0-1.0", str(i), "train")
        for i, one in enumerate(content)
    ]
    directory.mkdir(parents=True, exist_ok=True)
    write_shard(directory / "documents.parquet", rows, media)
    return directory


def seconds(batches: Iterable[Any], counted: int) -> float:
    """Time of ``counted`` batches after the first."""
    running: Iterator[Any] = iter(batches)
    next(running)
    began = time.perf_counter()
    for _ in range(counted):
        next(running)
    spent = time.perf_counter() - began
    if close := getattr(running, "close", None):
        close()
    return spent


def loading_row(setting: Setting, *, modality: Modality, workers: int) -> Row:
    """Samples per second of both sides in turn."""
    size, counted = BATCH[modality], TEXT_BATCHES if modality is Modality.TEXT else BATCHES
    with tempfile.TemporaryDirectory() as scratch:
        count = size * (counted + 1)
        corpus = documents(Path(scratch), 32) if modality is Modality.DOCUMENT else setting.corpus
        samples = samples_of(corpus, modality, count)
        work = SideWork(MediaAccess(), preprocessing_of(setting.encoder))
        names, decode = _decoder(modality, setting)
        data = [p.text if (p := s.part).media is None else work.media(s.shard, p.media) for s in samples]
        shapes = _check(work(samples[:size]), [decode(one) for one in data[:size]], modality)
        extra: dict[str, Any] = (
            {"prefetch_factor": PREFETCH, "multiprocessing_context": "forkserver"} if workers else {}
        )

        def ours() -> float:
            made: Any = Sides(samples, size, work)
            return seconds(Loading(made, counted + 1, lambda: 0, workers=workers, prefetch=PREFETCH), counted)

        def theirs() -> float:
            loader = DataLoader(Decoded(decode, data), size, num_workers=workers, collate_fn=padded, **extra)
            return seconds(loader, counted)

        turns = []
        for turn in range(setting.rounds):
            sides = (ours, theirs) if turn % 2 == 0 else (theirs, ours)
            spent = {side: side() for side in sides}
            turns.append((spent[ours], spent[theirs]))
    timed = size * counted
    return Row(
        name=f"loading-{modality}-{workers}",
        ours=round(timed / statistics.median(own for own, _ in turns), 1),
        peer=PEER.format(names),
        peer_value=round(timed / statistics.median(other for _, other in turns), 1),
        ratio=round(statistics.median(other / own for own, other in turns), 3),
        unit="samples/s",
        hardware=setting.hardware,
        note=f"{workers} workers, batches of {size}, {timed} samples of {shapes}, {setting.rounds} rounds in turn",
    )


def _check(ours: UnifiedBatch, theirs: list[Tensor], modality: Modality) -> str:
    """Both sides have to end with as much: values where they are the same by definition, sizes elsewhere.

    Raises:
        BenchmarkError: they do not.
    """
    if modality is Modality.TEXT:
        equal = [len(ids) for ids in theirs] == (ours.mask_NL.sum(1)).tolist()
        shape = f"{ours.mask_NL.sum(1).min()} to {ours.mask_NL.sum(1).max()} tokens"
    else:
        name = Modality.IMAGE if modality is Modality.DOCUMENT else modality
        inputs = [one for call in ours.media[name.value].calls for one in call.inputs]
        numbers, wanted = sum(one.nbytes for one in inputs), sum(one.nbytes for one in theirs)
        # Our sounds are filled up to whole tokens, theirs are not.
        equal = numbers == wanted if modality is not Modality.AUDIO else 0.8 < wanted / numbers <= 1.0
        shape = f"{' x '.join(map(str, inputs[0].shape))} an input"
    if not equal:
        raise BenchmarkError(f"the two sides make {modality} of different sizes, so the comparison would mean nothing")
    return shape


ROWS: dict[str, Callable[[Setting], Row]] = {
    f"loading-{modality}-{workers}": partial(loading_row, modality=modality, workers=workers)
    for modality in BATCH
    for workers in WORKERS
}

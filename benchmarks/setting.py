"""What every row shares: the model, its inputs and the machine."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from data.corpus import Corpus
from data.records import Record
from model.content import Content, Modality, media_digest

if TYPE_CHECKING:
    from model.artifact import Backend
    from model.encoder import Encoder
    from model.unified.encoder import UnifiedEncoder

# Short labels, sentences and long passages in equal shares: what a search index holds, and hard on padding.
TEXT_TASKS = ("text_to_image", "bitext", "heading_to_passage", "docstring_to_code")
PICTURE_TASK = "text_to_image"
SOUND_TASK = "speech_to_text"
DONE = "exported"


@dataclass(frozen=True)
class Setting:
    """One benchmark session.

    Attributes:
        artifact: directory of a unified model.
        corpus: directory of shards that the inputs come from.
        cache: for what a peer needs on disk; may be thrown away.
        threads: processor threads that each side may use.
        rounds: counted runs of each side of a row.
        texts, pictures: inputs of a run.
        queries: of each text task, to see what int8 costs in retrieval.
        int8_loss: the most that it may cost of nDCG@10.
        sounds: inputs of a run.
        infinity: Python of a virtual environment with infinity-emb; without one its rows are skipped.
    """

    artifact: Path
    corpus: Path
    cache: Path
    threads: int = 2
    rounds: int = 5
    texts: int = 256
    pictures: int = 128
    queries: int = 150
    int8_loss: float = 0.01
    sounds: int = 128
    infinity: Path | None = None

    @cached_property
    def encoder(self) -> "UnifiedEncoder":
        """The model, all towers loaded."""
        from model.unified.encoder import UnifiedEncoder

        return UnifiedEncoder.load(self.artifact)

    @cached_property
    def exported(self) -> Path:
        """The artifact with its ONNX graphs, fp32 and int8; made once for an artifact."""
        from model.integrity import artifact_digest
        from model.unified.onnx_export import export_onnx
        from model.unified.onnx_int8 import quantize_graphs
        from model.unified.storage import clone_artifact

        target = self.cache / f"exported-{artifact_digest(self.artifact)[:16]}"
        if not (target / DONE).is_file():
            shutil.rmtree(target, ignore_errors=True)  # one that was interrupted
            clone_artifact(self.artifact, target)
            shutil.rmtree(target / "onnx", ignore_errors=True)  # links, through which the source would be written
            export_onnx(self.encoder, target / "onnx")
            quantize_graphs(target, self.calibration)
            (target / DONE).touch()
        return target

    def graphs(self, backend: "Backend") -> "Encoder":
        """The model in ONNX Runtime, one thread a graph: ``encode_contents`` runs one batch on each core."""
        from model.artifact import load_encoder

        return load_encoder(self.exported, backend=backend, threads=1)

    @cached_property
    def calibration(self) -> list[Content]:
        """Texts and pictures that no row measures."""
        tasks = [*((task, Modality.TEXT) for task in TEXT_TASKS), (PICTURE_TASK, Modality.IMAGE)]
        return [content for task, modality in tasks for content in self._pick(task, modality, 8, split="validation")]

    @cached_property
    def hardware(self) -> str:
        """Processor and threads in words."""
        return f"{processor()}, {self.threads} of {os.cpu_count()} cores"

    @cached_property
    def text_contents(self) -> list[Content]:
        """Distinct texts of mixed lengths from the test split, in an order that has nothing to do with length."""
        share = -(-self.texts // len(TEXT_TASKS))
        chosen = [c for task in TEXT_TASKS for c in self._pick(task, Modality.TEXT, share)]
        return sorted(chosen, key=lambda content: content.digest)[: self.texts]

    @cached_property
    def picture_contents(self) -> list[Content]:
        """Distinct pictures from the test split."""
        return self._pick(PICTURE_TASK, Modality.IMAGE, self.pictures)

    @cached_property
    def sound_contents(self) -> list[Content]:
        """Distinct sounds from the test split."""
        return self._pick(SOUND_TASK, Modality.AUDIO, self.sounds)

    def _pick(self, task: str, modality: Modality, count: int, split: str = "test") -> list[Content]:
        """Contents of one modality from either side of a task's records, the same ones every time."""
        corpus = Corpus(self.corpus, splits=(split,), tasks=(task,))
        records = sorted(corpus.records, key=lambda record: media_digest(record.id.encode()))
        found: dict[str, Content] = {}
        for content in (c for record in records for c in _sides(corpus, record)):
            if content.modalities == {modality}:
                found.setdefault(content.digest, content)
            if len(found) == count:
                break
        return list(found.values())


def _sides(corpus: Corpus, record: Record) -> Iterator[Content]:
    example = corpus.resolve(record)
    yield example.query
    yield from example.positives


def processor() -> str:
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

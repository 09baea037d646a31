"""The work of the soup step: ingredients along a run and of other runs, scored on the validation split.

Shape legend: N queries, M documents, D dimensions.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from components.soup.config import SoupStepConfig
from components.soup.ingredients import gather

if TYPE_CHECKING:
    from torch import Tensor

    from data.corpus import Corpus
    from data.records import Record
    from model.training.families import TorchEncoder


def run(
    config: SoupStepConfig, *, dataset: Path, base: Path, model: Path, features: Path | None, output: Path
) -> dict[str, float]:
    """Cook the soup and write it as a model artifact with ``soup.json`` beside the weights.

    Args:
        config: method, tasks and number of validation queries.
        dataset: accepted shards.
        base: artifact before fine-tuning.
        model: artifact after fine-tuning; its ``snapshots/`` are ingredients as well.
        features: feature store of the frozen towers, or None.
        output: artifact to write.

    Returns:
        Scalars: score of the soup, of the fine-tuned model and of the base, number of members.

    Raises:
        ConfigError: an ingredient is not there or not of this lineage.
    """
    from data.corpus import Corpus
    from model.artifact import load_encoder
    from model.features import FeatureStore
    from model.integrity import write_digests
    from model.training.soup import cook
    from model.transfer import accelerated
    from model.unified.encoder import UnifiedEncoder

    encoder = cast("TorchEncoder", load_encoder(model))
    if isinstance(encoder, UnifiedEncoder) and features is not None:
        encoder.use_features(FeatureStore.open(features))
    ingredients = gather(encoder, base, model, [Path(place) for place in config.stage.ingredients])
    score = ValidationScore(encoder, Corpus(dataset, splits=("validation",), tasks=config.stage.tasks), config)
    with accelerated(encoder):
        soup = cook(ingredients, score, config.stage.method)
    encoder.load_state_dict(soup.state, strict=False)
    encoder.save(output)
    document = {
        "members": soup.members,
        "score": soup.score,
        "tried": soup.tried,
        "tasks": dict(zip(soup.tried, score.by_task, strict=True)),  # both in the order in which they were tried
        "method": config.stage.method,
        "ingredients": {i.name: i.origin for i in ingredients},
    }
    (output / "soup.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    write_digests(output)
    return {
        "score": soup.score,
        "score_finetuned": soup.tried["finetuned"],
        "score_base": soup.tried["base"],
        "members": len(soup.members),
        "candidates": len(soup.tried),
    }


class ValidationScore:
    """Mean over tasks of the hit rate at 1 among the validation pool, for a set of weights.

    Attributes:
        by_task: of each set of weights that was scored, the hit rate of each task.
    """

    def __init__(self, encoder: "TorchEncoder", corpus: "Corpus", config: SoupStepConfig) -> None:
        self.encoder = encoder
        self.corpus = corpus
        self.config = config
        self.by_task: list[dict[str, float]] = []
        self.pools = {task: self._pool(task) for task in config.stage.tasks}

    def __call__(self, state: "Mapping[str, Tensor]") -> float:
        """Score ``state``; higher is better."""
        self.encoder.load_state_dict(state, strict=False)
        scores = {task: self._hit_at_1(records) for task, records in self.pools.items() if records}
        self.by_task.append(scores)
        return sum(scores.values()) / len(scores)

    def _pool(self, task: str) -> "list[Record]":
        """A fixed sample of validation records, one per group so that every other document is a true negative."""
        by_group = {
            r.group: r
            for r in sorted(self.corpus.select(split="validation", where=lambda r: r.task == task), key=_shuffled)
        }
        return list(by_group.values())[: self.config.stage.queries_per_task]

    def _hit_at_1(self, records: "list[Record]") -> float:
        from model.encoding import encode_contents

        stage = self.config.stage
        examples = [self.corpus.resolve(r) for r in records]
        queries = [replace(e.query, task=stage.query_task) for e in examples]
        documents = [replace(e.positives[0], task=stage.document_task) for e in examples]
        query_ND = encode_contents(self.encoder, queries, desc="")
        document_ND = encode_contents(self.encoder, documents, desc="")
        best_N = (query_ND @ document_ND.T).argmax(1)
        return float((best_N == range(len(records))).mean())


def _shuffled(record: "Record") -> str:
    return hashlib.sha256(record.id.encode()).hexdigest()

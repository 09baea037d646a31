"""Which data a step was given: read from the validated corpus, or computed from its shards."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.scan import record_batches
from data.shards import shard_paths
from model.integrity import file_digest

DATASET = "dataset.json"


@dataclass(frozen=True)
class DataIdentity:
    """Identity of a corpus.

    Attributes:
        digest: digest of the accepted rows.
        dvc: what DVC knows: ``path``, ``md5``, and of a pinned version ``revision``, ``remote`` and ``reference``.
        facts: the whole ``dataset.json``; empty for a bare directory of shards.
    """

    digest: str
    dvc: dict[str, str]
    facts: dict[str, Any]

    @property
    def dvc_md5(self) -> str:
        """DVC hash, or an empty string."""
        return str(self.dvc.get("md5") or "")

    @property
    def remote(self) -> str | None:
        """Address of the remote that the corpus was fetched from; ``None`` for a directory that was here."""
        return self.dvc.get("remote")

    @property
    def tags(self) -> dict[str, str]:
        """What names the version: DVC hash, and what else is known of revision, remote and reference."""
        known = {f"dvc_{name}": self.dvc.get(name) for name in ("revision", "remote", "reference")}
        return {"dvc_md5": self.dvc_md5} | {name: str(value) for name, value in known.items() if value}


def write_facts(dataset: Path, facts: dict[str, Any]) -> None:
    """Write the ``dataset.json`` of a corpus."""
    (dataset / DATASET).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def records_by(dataset: Path) -> dict[str, dict[str, int]]:
    """Records of a corpus by source, split, licence, task and language."""
    names = ("source", "split", "license", "task")
    found: dict[str, Counter[str]] = {name: Counter() for name in (*names, "language")}
    for shard in shard_paths(dataset):
        for table in record_batches(shard, (*names, "languages")):
            for name in names:
                found[name].update(map(str, table[name].to_pylist()))
            found["language"].update(tag for tags in table["languages"].to_pylist() for tag in tags or ())
    return {name: dict(sorted(counts.items())) for name, counts in found.items()}


def data_identity(dataset: Path) -> DataIdentity:
    """Identity of the corpus in ``dataset``.

    Raises:
        DataError: there are neither a ``dataset.json`` nor shards.
    """
    path = dataset / DATASET
    if path.is_file():
        facts = json.loads(path.read_text(encoding="utf-8"))
        return DataIdentity(str(facts["digest"]), dict(facts.get("dvc") or {}), facts)
    total = hashlib.sha256()
    for shard in shard_paths(dataset):
        total.update(f"{shard.name}:{file_digest(shard)}\n".encode())
    return DataIdentity(total.hexdigest()[:16], {}, {})

"""What the validate step tells MLflow, and the facts that a summary shows."""

from pathlib import Path
from typing import Any

from components.lineage import data_identity
from components.tracking import Run


def track(
    run: Run | None, corpus: str, corpus_digest: str, *, dataset: Path, quarantine: Path, report: Path
) -> dict[str, Any]:
    """Log the corpus with its digests, the report and the reasons of refused rows; return digest, DVC hash, counts."""
    data = data_identity(dataset)
    if run is not None:
        tags = data.tags | {"corpus_digest": corpus_digest}
        run.dataset(data.remote or corpus, data.digest, profile={"rows": data.facts["rows"]}, tags=tags)
        run.artifact(report)
        run.artifact(quarantine / "reasons.jsonl", "quarantine")
    return {"digest": data.digest, "dvc": data.dvc, "by": data.facts["by"]}

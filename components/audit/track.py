"""What the audit step tells MLflow, and the facts that a summary shows."""

from pathlib import Path
from typing import Any

from components.lineage import data_identity
from components.tracking import Run


def track(run: Run | None, *, audited: Path, quarantine: Path, pairs: Path, report: Path) -> dict[str, Any]:
    """Log report, pairs and reasons of refused rows; return digest, counts and groups that moved."""
    data = data_identity(audited)
    if run is not None:
        run.artifact(report)
        run.artifact(pairs / "pairs.parquet", "audit")
        run.artifact(quarantine / "reasons.jsonl", "quarantine")
        run.tags({"audited_digest": data.digest})
    return {"digest": data.digest, "dvc": data.dvc, "by": data.facts["by"], "audit": data.facts["audit"]}

"""What the mine step tells MLflow, and the facts that a summary shows."""

from pathlib import Path
from typing import Any

from components.lineage import data_identity
from components.tracking import Run


def track(run: Run | None, *, output: Path, report: Path) -> dict[str, Any]:
    """Log the corpus with its negatives as a data set of its own, with what it was made from; return its digest."""
    data = data_identity(output)
    mining = data.facts["mining"]
    if run is not None:
        tags = {"parent_digest": mining["parent"], "model_digest": mining["model"], "dvc_md5": data.dvc_md5}
        run.dataset(output, data.digest, name="mined", profile={"rows": data.facts["rows"]}, tags=tags)
        run.artifact(report)
        run.json("mining.json", mining)
    return {"digest": data.digest, "parent": mining["parent"]}

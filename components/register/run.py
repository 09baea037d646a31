"""The work of the register step."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from components.environment import Environment
from components.evaluate.run import METRICS, REPORT
from components.lineage import data_identity
from components.register.config import RegisterConfig
from components.registry import CHAMPION, EVALUATION, Candidate, Registry, RegistryError
from components.source import checkout
from components.tracking import Run
from model.errors import ArtifactError
from model.integrity import artifact_digest


@dataclass(frozen=True)
class RegisterResult:
    """The version that holds the model.

    Attributes:
        version: version number as text.
        name: registered model.
        digest: artifact digest.
        alias: alias of the version now.
        created: false when the same model and data were registered before.
    """

    version: str
    name: str
    digest: str
    alias: str
    created: bool


def run(
    config: RegisterConfig, *, model: Path, results: Path, dataset: Path, environment: Environment, tracked: Run | None
) -> RegisterResult:
    """Register ``model`` with its evaluation and lineage, once.

    A version that is already champion keeps its alias; any other gets ``config.alias``.

    Raises:
        ArtifactError: the artifact is damaged, or ``results`` belong to another model.
    """
    if tracked is None:
        raise RegistryError("a version needs the MLflow run that made it; open one with components.tracking.step_run")
    registry, data = Registry(environment, config.name), data_identity(dataset)
    metrics = json.loads((results / METRICS).read_text(encoding="utf-8"))
    check_same_model(model, metrics)
    tags = {
        **config.tags,
        "dvc_md5": data.dvc_md5,
        "git_sha": git_sha(),
        "evaluated_digest": metrics["model"]["digest"],
        "report": f"{EVALUATION}/{REPORT}",
        "pipeline_run": environment.run_id or "",
    }
    candidate = Candidate(
        artifact=model,
        results=results,
        data_digest=data.digest,
        dimensions=tuple(metrics["model"]["dimensions"]),
        modalities=tuple(metrics["model"]["modalities"]),
        metrics={name: float(entry["value"]) for name, entry in metrics["headline"].items()},
        tags={key: value for key, value in tags.items() if value},
    )
    tracked.dataset(dataset, data.digest, tags={"dvc_md5": data.dvc_md5})
    version, created = registry.register(candidate, tracked)
    champion = registry.aliases().get(CHAMPION) == version
    if not champion:
        registry.set_alias(config.alias, version)
    alias = CHAMPION if champion else config.alias
    return RegisterResult(version, config.name, artifact_digest(model), alias, created)


def check_same_model(model: Path, metrics: dict[str, dict[str, object]]) -> None:
    """Refuse results of another model: export adds files but must not change the weights.

    Raises:
        ArtifactError: naming the weights that differ.
    """
    recorded = (
        json.loads((model / "digests.json").read_text(encoding="utf-8")) if (model / "digests.json").is_file() else {}
    )
    evaluated = metrics["model"]["weights"]
    if not isinstance(evaluated, dict):
        raise ArtifactError("the evaluation results name no weights; run the evaluate step again")
    changed = sorted(name for name, digest in evaluated.items() if recorded.get(name) != digest)
    if changed:
        raise ArtifactError(
            f"{model} is not the model that was evaluated: {', '.join(changed)} differ; evaluate this model, or "
            "register the one that was evaluated"
        )


def git_sha() -> str:
    """Commit of the checkout, or an empty string outside one."""
    try:
        found = subprocess.run(
            ["git", "-C", str(checkout()), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except OSError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""

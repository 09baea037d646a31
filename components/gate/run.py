"""The work of the gate: judge, write why, and move the aliases."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.environment import Environment
from components.evaluate.run import METRICS, PER_QUERY
from components.evaluate.scores import read_outcomes
from components.gate import rules
from components.gate.config import GateConfig
from components.gate.report import report_page
from components.gate.rules import Verdict
from components.registry import CHALLENGER, CHAMPION, EVALUATION, STATUS_TAG, Registry
from components.tracking import Run
from model.errors import ArtifactError


@dataclass(frozen=True)
class GateResult:
    """The decision.

    Attributes:
        version: the candidate.
        promoted: whether it is champion now.
        alias: alias of the candidate now.
        champion: the champion that it was compared with, or ``None``.
        verdicts: every rule with its numbers.
    """

    version: str
    promoted: bool
    alias: str
    champion: str | None
    verdicts: tuple[Verdict, ...]

    @property
    def reasons(self) -> list[str]:
        """Why it was refused; empty when it was not."""
        return [f"{v.rule}: {v.subject}: {v.reason}" for v in self.verdicts if not v.passed]

    def document(self) -> dict[str, Any]:
        """The decision as JSON."""
        return asdict(self) | {"reasons": self.reasons}


def run(
    config: GateConfig,
    *,
    version: str,
    results: Path,
    served: Path,
    report: Path,
    environment: Environment,
    tracked: Run | None = None,
) -> GateResult:
    """Judge a version; promote it when every rule holds, otherwise leave the aliases and say why.

    Args:
        config: rules.
        version: candidate version of the registered model.
        results: its results directory (evaluate step).
        served: JSON of the serve_check step, or the directory with its ``result.json``.
        report: HTML file; the same as JSON goes beside it.
        environment: where the registry is.
        tracked: MLflow run to log to.

    Raises:
        RegistryError: the champion changed while judging; nothing was moved.
    """
    registry = Registry(environment, config.name)
    now = registry.aliases().get(CHAMPION)
    verdicts = judge(config, registry, results=results, served=served, rival=now if now != version else None)
    passed = all(v.passed for v in verdicts)
    if passed:
        registry.promote(version, expected=now)
    alias = CHAMPION if passed or now == version else CHALLENGER
    decision = GateResult(version, passed, alias, now, tuple(verdicts))
    reason = "; ".join(decision.reasons) or "every rule holds"
    registry.tag(version, {STATUS_TAG: "passed" if passed else "failed", "gate_reason": reason})
    _write(decision, report, tracked)
    return decision


def judge(config: GateConfig, registry: Registry, *, results: Path, served: Path, rival: str | None) -> list[Verdict]:
    """Every rule's verdict; ``rival`` is the champion to compare with, if any."""
    metrics = _read(results / METRICS)
    rows = read_outcomes(results / PER_QUERY)
    verdicts = rules.floors(config, metrics["headline"])
    verdicts += rules.learned(config, metrics["headline"], rows)
    verdicts += rules.healthy(config, metrics["space"])
    verdicts += rules.served(config, _read(served / "result.json" if served.is_dir() else served))
    if rival is not None:
        theirs = read_outcomes(registry.folder(rival, EVALUATION) / PER_QUERY)
        verdicts += rules.champion(config, rows, theirs, rival)
    return verdicts


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"the gate cannot read {path}: {error}; run the step that writes it again") from error
    return dict(found)


def _write(decision: GateResult, report: Path, tracked: Run | None) -> None:
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(report_page(decision.document()), encoding="utf-8")
    beside = report.with_suffix(".json")
    beside.write_text(json.dumps(decision.document(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if tracked is not None:
        tracked.artifact(report)
        tracked.artifact(beside)
        tracked.headline({"promoted": float(decision.promoted)})

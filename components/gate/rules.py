"""The rules of the gate: each looks at one number and says why it holds or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.evaluate.headlines import HEADLINES
from components.evaluate.scores import Outcome, members_of, subset_weights
from components.gate.config import GateConfig
from model.evaluation.bootstrap import Estimate, paired_difference

NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Verdict:
    """Outcome of one rule.

    Attributes:
        rule: kind of rule, such as ``floor``.
        subject: what it looked at.
        value: the number, with its interval where it has one.
        bound: what the value (or the lower end of its interval) must reach.
        passed: whether it does.
        reason: one sentence for people.
    """

    rule: str
    subject: str
    value: float | None
    bound: float | None
    passed: bool
    reason: str
    low: float | None = None
    high: float | None = None


def floors(config: GateConfig, headline: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """Absolute floors; a metric that was not measured fails its floor."""
    verdicts = []
    for wanted, bound in config.floors.items():
        names = [wanted]
        if wanted.endswith("/*"):
            names = [name for name in headline if name.startswith(wanted[:-1])] or [wanted]
        for name in names:
            entry = headline.get(name)
            if entry is None:
                verdicts.append(Verdict("floor", name, None, bound, False, "was not measured"))
                continue
            passed = entry["value"] >= bound
            reason = f"{entry['value']:.3f} {'reaches' if passed else 'is below'} the floor {bound:.3f}"
            verdicts.append(Verdict("floor", name, entry["value"], bound, passed, reason, entry["low"], entry["high"]))
    return verdicts


def learned(config: GateConfig, headline: Mapping[str, Mapping[str, Any]], rows: Sequence[Outcome]) -> list[Verdict]:
    """Primary headlines must surely beat chance and the starting point; others may lose only a margin to it."""
    verdicts = []
    for name in config.primary:
        entry = headline.get(name)
        if entry is None:
            verdicts.append(Verdict("above chance", name, None, None, False, "was not measured"))
            continue
        above = entry["low"] > entry["chance"]
        reason = f"{entry['value']:.3f} (at least {entry['low']:.3f}) against chance {entry['chance']:.3f}"
        verdicts.append(
            Verdict("above chance", name, entry["value"], entry["chance"], above, reason, entry["low"], entry["high"])
        )
    bounds = dict.fromkeys(config.primary, 0.0) | {name: -margin for name, margin in config.baseline_margins.items()}
    return verdicts + [v for name, bound in bounds.items() if (v := _against_start(config, name, bound, rows))]


def _against_start(config: GateConfig, name: str, bound: float, rows: Sequence[Outcome]) -> Verdict | None:
    own = [row for row in members_of(rows, HEADLINES[name]) if row.baseline_values]
    if not own:
        return None  # the starting point could not run the task, or the task has no records
    metric = HEADLINES[name].metric
    found = _difference(config, own, [row.values[metric] for row in own], [row.baseline_values[metric] for row in own])
    passed = found.low > 0 if bound == 0 else found.value >= bound
    demand = "surely above 0" if bound == 0 else f"at least {bound:+.3f}"
    reason = f"{_signed(found)} against the untrained starting point, must be {demand}"
    return Verdict("against untrained", name, found.value, bound, passed, reason, found.low, found.high)


def champion(config: GateConfig, rows: Sequence[Outcome], theirs: Sequence[Outcome], version: str) -> list[Verdict]:
    """Every headline must be non-inferior to the champion on the queries that both answered."""
    known = {(row.task, row.subset, row.query_id): row for row in theirs}
    verdicts = []
    for name, headline in HEADLINES.items():
        own = members_of(rows, headline)
        pairs = [(row, old) for row in own if (old := known.get((row.task, row.subset, row.query_id))) is not None]
        pairs = [(row, old) for row, old in pairs if (row.pool, row.right) == (old.pool, old.right)]
        if not own:
            if members_of(theirs, headline):
                verdicts.append(
                    Verdict("champion", name, None, None, False, f"version {version} was measured, this is not")
                )
            continue
        if len(pairs) < config.least_shared * len(own):
            if members_of(theirs, headline):
                verdicts.append(_incomparable(config, name, len(pairs), len(own), version))
            continue
        bound = -config.margins.get(name, config.margin)
        metric = headline.metric
        values = [row.values[metric] for row, _ in pairs], [old.values[metric] for _, old in pairs]
        found = _difference(config, [row for row, _ in pairs], *values)
        passed = found.low >= bound - 1e-12
        reason = f"{_signed(found)} against version {version}, may lose at most {-bound:.3f}"
        verdicts.append(Verdict("champion", name, found.value, bound, passed, reason, found.low, found.high))
    return verdicts


def _incomparable(config: GateConfig, name: str, shared: int, wanted: int, version: str) -> Verdict:
    refuse = config.incomparable == "refuse"
    reason = (
        f"only {shared} of {wanted} queries (with the same pool) were asked of version {version}: "
        f"it was evaluated on other data; {'evaluate it on this data' if refuse else 'decided by the other rules'}"
    )
    return Verdict("champion", name, None, None, not refuse, reason)


def healthy(config: GateConfig, space: Mapping[str, Any]) -> list[Verdict]:
    """Unit norms and no collapse."""
    facts = space["health"]["all"]
    rank, error = facts["effective_rank"], facts["norm_error"]
    least = config.least_effective_rank
    return [
        Verdict("space", "effective rank", rank, least, rank >= least, f"{rank:.1f}, must be at least {least:.1f}"),
        Verdict("space", "unit norms", error, NORM_TOLERANCE, error <= NORM_TOLERANCE, f"largest error {error:.1e}"),
    ]


def served(config: GateConfig, report: Mapping[str, Any]) -> list[Verdict]:
    """The server booted with the candidate and gave the offline vectors."""
    if not config.serving:
        return []
    passed = report.get("ok") is True
    problems = "; ".join(map(str, report.get("problems") or ["the check failed"]))
    reason = "the server answered with the offline vectors" if passed else problems
    return [Verdict("serving", "serve_check", None, None, passed, reason)]


def _difference(
    config: GateConfig, rows: Sequence[Outcome], ours: Sequence[float], theirs: Sequence[float]
) -> Estimate:
    return paired_difference(
        ours,
        theirs,
        clusters_Q=[row.group for row in rows],
        weights_Q=subset_weights(rows),
        level=config.level,
        draws=config.draws,
        seed=config.seed,
    )


def _signed(found: Estimate) -> str:
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"

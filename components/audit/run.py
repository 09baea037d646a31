"""The work of the audit step: a corpus in; a corpus without leaks, quarantine, pairs and report out."""

import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from components.audit.config import AuditConfig
from components.lineage import data_identity, records_by, write_facts
from data.audit.audit import Audited, audit, examples, not_compared, why_stop
from data.audit.write import Written, write_audited
from model.errors import DataError
from model.files import whole_file

PAIRS = "pairs.parquet"


def run(
    config: AuditConfig,
    *,
    dataset: Path,
    audited: Path,
    quarantine: Path,
    pairs: Path,
    report: Path,
    model: Path | None = None,
) -> dict[str, float]:
    """Audit a corpus.

    Args:
        config: what counts and what is done.
        dataset: directory of shards, as the validate step writes it.
        audited: directory to write: shards after the policies, their probes and ``dataset.json``; nothing when stopped.
        quarantine: directory to write: shards of what was dropped and ``reasons.jsonl``.
        pairs: directory to write: ``pairs.parquet``, one row for each finding.
        report: HTML file to write.
        model: artifact whose vectors are compared when ``embedding.enabled``.

    Returns:
        Scalars: ``rows``, ``quarantined``, ``moved``, ``leaks`` (pairs across splits), ``duplicates`` (within one),
        ``not_compared`` (pairs across splits that share a key which too many have).

    Raises:
        DataError: a policy says to fail, or the policies would change too much; pairs and report are written then.
    """
    from components.audit.report import report_page
    from components.audit.vectors import by_model

    with tempfile.TemporaryDirectory(prefix="omnivec-audit-") as folder:
        further = by_model(config, model)
        found = audit(dataset, config, Path(folder), further=further)
        stop = why_stop(found, config)
        for line in not_compared(found).values():
            sys.stderr.write(f"warning: {line}\n")
        _write_pairs(pairs, found, config)
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(report_page(found, config, stop), encoding="utf-8")
        if stop:
            raise DataError(_stop_message(dataset, stop, found, pairs, report))
        places = (dataset, Path(folder))
        records, verdicts = found.findings.records, found.verdicts
        written = write_audited(records, verdicts, audited, quarantine, stored=places, limits=config.limits)
    _describe(dataset, audited, found, written)
    scopes = Counter(pair.scope for pair in found.findings.pairs)
    counts = {"rows": written.kept, "quarantined": written.quarantined, "moved": written.moved}
    left_out = sum(found.findings.left_out.values())
    return {**counts, "leaks": scopes["across"], "duplicates": scopes["within"], "not_compared": left_out}


def _write_pairs(directory: Path, found: Audited, config: AuditConfig) -> None:
    with whole_file(directory / PAIRS) as partial:
        pq.write_table(found.findings.table(config), partial, compression="zstd")


def _stop_message(dataset: Path, why: list[str], found: Audited, pairs: Path, report: Path) -> str:
    return "\n".join(
        [
            f"{dataset} leaks, or repeats itself, more than the policies allow:",
            *(f"  {line}" for line in why),
            "for example:",
            *(f"  {line}" for line in examples(found)),
            "change the corpus, or the policies (policies.KIND.across, policies.KIND.within)",
            f"pairs: {pairs / PAIRS}",
            f"report: {report}",
        ]
    )


def _describe(source: Path, target: Path, found: Audited, written: Written) -> None:
    """``dataset.json``: as the validate step writes it, with what the audit did."""
    before = data_identity(source)
    reasons = Counter(reason for refusal in found.verdicts.refused.values() for reason in refusal.reasons)
    facts: dict[str, Any] = {
        **before.facts,
        "digest": data_identity(target).digest,
        "dvc": before.dvc,
        "rows": written.kept,
        "quarantined": int(before.facts.get("quarantined", 0)) + written.quarantined,
        "reasons": dict(sorted((Counter(before.facts.get("reasons") or {}) + reasons).items())),
        "by": records_by(target),
        "audit": {
            "input": before.digest,
            "quarantined": written.quarantined,
            "moved": written.moved,
            "moved_groups": dict(sorted(found.verdicts.moved.items())),
            "not_compared": found.findings.left_out,
            "pairs": {" ".join(key): count for key, count in found.findings.counts.items()},
        },
    }
    write_facts(target, facts)

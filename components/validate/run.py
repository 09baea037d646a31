"""The work of the validate step: shards in; accepted shards, quarantine and report out."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.lineage import DATASET, data_identity
from components.validate.config import ValidateConfig
from data.expectations import Findings, validate
from data.manifest import Shard, build_manifest, media_items, read_shards
from data.probes import Probe, probe_all
from data.quarantine import Divided, divide, write_accepted, write_quarantine
from data.versioning import CorpusVersion, corpus_version
from model.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame

LICENSE_POLICY = "license_not_allowed"


@dataclass(frozen=True)
class Checked:
    """All findings about a corpus."""

    version: CorpusVersion
    shards: list[Shard]
    broken: dict[str, str]
    probes: list[Probe]
    manifest: "DataFrame"
    findings: Findings
    divided: list[Divided]

    @property
    def rows(self) -> int:
        """Records that came in."""
        return len(self.manifest)

    @property
    def bad(self) -> dict[int, list[str]]:
        """Refused rows that are wrong, not merely left out for their licence."""
        return {row: why for row, why in self.findings.refused.items() if set(why) != {LICENSE_POLICY}}

    @property
    def reasons(self) -> Counter[str]:
        """Refused rows by reason."""
        return Counter(reason for reasons in self.findings.refused.values() for reason in reasons)

    @property
    def accepted(self) -> "DataFrame":
        """Manifest rows that are accepted."""
        return self.manifest.drop(index=list(self.findings.refused))


def run(config: ValidateConfig, *, corpus: Path, dataset: Path, quarantine: Path, report: Path) -> dict[str, float]:
    """Validate a corpus.

    Args:
        config: what is accepted.
        corpus: directory of shards.
        dataset: directory to write: accepted shards and ``dataset.json``; nothing is written when the run is stopped.
        quarantine: directory to write: shards of refused rows and ``reasons.jsonl``.
        report: HTML file to write.

    Returns:
        Scalars: ``rows``, ``quarantined``, ``left_out_by_license``, ``media``, ``bad_media``.

    Raises:
        DataError: the corpus is broken as a whole; the message counts the reasons and names quarantine and report.
    """
    from components.validate.report import report_page

    checked = check(config, corpus)
    stop = _why_stop(config, checked)
    quarantined = write_quarantine(checked.divided, checked.broken, quarantine)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(report_page(checked, stop), encoding="utf-8")
    if stop:
        raise DataError(_stop_message(corpus, stop, checked, quarantine, report))
    rows = write_accepted(checked.divided, dataset)
    if rows + quarantined != checked.rows:
        raise DataError(f"{checked.rows} records came in, but {rows} were accepted and {quarantined} quarantined")
    _describe(dataset, checked, corpus, quarantined)
    return {
        "rows": rows,
        "quarantined": quarantined,
        "left_out_by_license": len(checked.findings.refused) - len(checked.bad),
        "media": len(checked.probes),
        "bad_media": sum(probe.code is not None for probe in checked.probes),
    }


def check(config: ValidateConfig, corpus: Path) -> Checked:
    """Find out everything about a corpus; nothing is written.

    Raises:
        DataError: there is no readable shard, so there is nothing to report on.
    """
    version = corpus_version(corpus, recorded=config.dvc_md5)
    shards, broken = read_shards(corpus)
    if not any(shard.records.num_rows for shard in shards):
        details = "; ".join(f"{name}: {message}" for name, message in broken.items()) or "all shards are empty"
        raise DataError(f"{corpus} holds no readable record. {details}. Build or fetch the corpus again.")
    total = sum(shard.media.num_rows for shard in shards)
    probes = probe_all(media_items(shards), config.limits, total=total)
    manifest = build_manifest(
        shards, probes, allowed=frozenset(config.licenses.allow), evaluation_only=config.evaluation_only
    )
    findings = validate(manifest, config.ranges)
    return Checked(version, shards, broken, probes, manifest, findings, divide(shards, findings.refused, probes))


def _why_stop(config: ValidateConfig, checked: Checked) -> list[str]:
    why = [f"shard {name} cannot be read: {message}" for name, message in checked.broken.items()]
    bad = checked.bad
    share = len(bad) / checked.rows
    if share > config.maximum_bad_share:
        why.append(f"{len(bad)} of {checked.rows} rows ({share:.1%}) are bad, more than {config.maximum_bad_share:.1%}")
    for shard in checked.shards:
        rows = range(shard.first, shard.first + shard.records.num_rows)
        if rows and all(row in bad for row in rows):
            why.append(f"every row of {shard.path.name} is bad")
    if not why and len(checked.findings.refused) == checked.rows:
        why.append("no row is left; the licences that licenses.allow names do not cover this corpus")
    return why


def _stop_message(corpus: Path, why: Sequence[str], checked: Checked, quarantine: Path, report: Path) -> str:
    counts = [f"  {reason}: {count} rows" for reason, count in checked.reasons.most_common()]
    return "\n".join(
        [
            f"{corpus} is not fit for training:",
            *(f"  {line}" for line in why),
            "refused rows by reason:",
            *(counts or ["  none"]),
            f"quarantine: {quarantine}",
            f"report: {report}",
        ]
    )


def _describe(dataset: Path, checked: Checked, corpus: Path, quarantined: int) -> None:
    accepted = checked.accepted
    by: dict[str, Mapping[str, int]] = {
        name: _counts(accepted[name]) for name in ("source", "split", "license", "task")
    }
    by["language"] = _counts(accepted["languages"].explode())
    facts: dict[str, Any] = {
        "digest": data_identity(dataset).digest,
        "dvc": {"path": corpus.name, **checked.version.describe()},
        "rows": len(accepted),
        "quarantined": quarantined,
        "reasons": dict(sorted(checked.reasons.items())),
        "by": by,
    }
    (dataset / DATASET).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _counts(column: Any) -> dict[str, int]:
    return {str(key): int(count) for key, count in sorted(column.value_counts().items())}

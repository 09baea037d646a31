"""The work of the validate step: shards in; accepted shards, quarantine and report out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.lineage import data_identity, write_facts
from components.validate.config import ValidateConfig
from data.expectations import Findings, build_suites, validate
from data.manifest import Manifest, Scanned, build_manifest, scan
from data.probing import Unreadable, probe_shards
from data.quarantine import Divided, divide, write_accepted, write_quarantine
from data.rules import rules
from data.shards import shard_paths
from data.versioning import CorpusVersion, corpus_version
from model.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame

LICENSE_POLICY = "license_not_allowed"


@dataclass(frozen=True)
class Checked:
    """All findings about a corpus."""

    version: CorpusVersion
    broken: dict[str, str]
    manifest: Manifest
    findings: Findings
    divided: list[Divided]

    @property
    def rows(self) -> int:
        """Records that came in."""
        return len(self.manifest.records)

    @property
    def bad_media(self) -> int:
        """Media that cannot be used."""
        return int(self.manifest.media["media_code"].notna().sum())

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
        return self.manifest.records.drop(index=list(self.findings.refused))


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
    rows = write_accepted(checked.divided, dataset, limits=config.limits)
    if rows + quarantined != checked.rows:
        raise DataError(f"{checked.rows} records came in, but {rows} were accepted and {quarantined} quarantined")
    _describe(dataset, checked, corpus, quarantined)
    return {
        "rows": rows,
        "quarantined": quarantined,
        "left_out_by_license": len(checked.findings.refused) - len(checked.bad),
        "media": len(checked.manifest.media),
        "bad_media": checked.bad_media,
    }


def check(config: ValidateConfig, corpus: Path) -> Checked:
    """Find out everything about a corpus; nothing is written.

    Raises:
        DataError: there is no readable shard, so there is nothing to report on.
    """
    suite = rules(config.ranges, config.rules, config.expectations)
    if config.expectations:
        build_suites(suite)  # a mistake in their arguments comes out before the decoding, not after it
    version = corpus_version(corpus, recorded=config.dvc_md5)
    scanned, broken = _scan(config, corpus)
    if not any(item.shard.records for item in scanned):
        details = "; ".join(f"{name}: {message}" for name, message in broken.items()) or "all shards are empty"
        raise DataError(f"{corpus} holds no readable record. {details}. Build or fetch the corpus again.")
    manifest = build_manifest(scanned, allowed=frozenset(config.licenses.allow), evaluation_only=config.evaluation_only)
    findings = validate(manifest, suite)
    return Checked(version, broken, manifest, findings, divide(scanned, findings.refused))


def _scan(config: ValidateConfig, corpus: Path) -> tuple[list[Scanned], dict[str, str]]:
    """Everything that was read, and what is wrong with shards that cannot be, by file name."""
    scanned: list[Scanned] = []
    broken: dict[str, str] = {}
    first = 0
    for found in probe_shards(corpus, shard_paths(corpus), config.limits):
        try:
            if isinstance(found, Unreadable):
                raise DataError(found.message)
            scanned.append(scan(found, first))
        except DataError as error:
            broken[found.shard.name] = str(error)
            continue
        first += scanned[-1].shard.records
    return scanned, broken


def _why_stop(config: ValidateConfig, checked: Checked) -> list[str]:
    why = [f"shard {name} cannot be read: {message}" for name, message in checked.broken.items()]
    bad = checked.bad
    share = len(bad) / checked.rows
    if share > config.maximum_bad_share:
        why.append(f"{len(bad)} of {checked.rows} rows ({share:.1%}) are bad, more than {config.maximum_bad_share:.1%}")
    for item in checked.divided:
        shard = item.scanned.shard
        rows = range(shard.first, shard.first + shard.records)
        if rows and all(row in bad for row in rows):
            why.append(f"every row of {shard.path.name} is bad")
    why += checked.findings.stops
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
    by["language"] = _counts(accepted["languages"].astype(object).str.split(" ").explode())
    facts: dict[str, Any] = {
        "digest": data_identity(dataset).digest,
        "dvc": {"path": corpus.name, **checked.version.describe()},
        "rows": len(accepted),
        "quarantined": quarantined,
        "reasons": dict(sorted(checked.reasons.items())),
        "by": by,
    }
    write_facts(dataset, facts)


def _counts(column: Any) -> dict[str, int]:
    found = column.value_counts()  # of a category also those that no accepted row has
    return {str(key): int(count) for key, count in sorted(found[found > 0].items())}

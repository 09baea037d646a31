"""The whole audit of a corpus: read, find, decide. Nothing of the corpus is changed here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data.audit.decide import Verdicts, decide
from data.audit.edges import Edges
from data.audit.identities import read_identities
from data.audit.items import Items, read_items
from data.audit.media import near_media
from data.audit.pairs import Findings, find_pairs
from data.audit.rules import AuditRules
from data.audit.texts import near_texts
from data.audit.wholes import with_wholes

# Finds further edges between items, such as neighbours of their vectors, from items and a shard of each medium.
Further = Callable[[Items, dict[int, Path]], Edges]


@dataclass
class Audited:
    """What was found, what happens, and a shard that holds each medium."""

    findings: Findings
    verdicts: Verdicts
    homes: dict[int, Path]

    @property
    def changed(self) -> int:
        """Records that are set aside or moved."""
        moved = self.verdicts.split != self.findings.records.split
        moved[list(self.verdicts.refused)] = True
        return int(moved.sum())


def audit(corpus: Path, rules: AuditRules, scratch: Path, *, further: Further | None = None) -> Audited:
    """Find duplicates and leaks and apply the policies.

    Args:
        corpus: directory of shards; probes in ``corpus/probes`` are used.
        rules: what counts and what is done.
        scratch: directory for what need not be in memory, and for probes that are made here.
        further: finds edges of kind ``embedding``.

    Raises:
        DataError: a shard cannot be read.
    """
    items = read_items(corpus, rules, scratch)
    identities, homes = read_identities(corpus, items, rules, scratch)
    near = [("text", near_texts(items, rules))]
    near += [(kind, near_media(kind, found, items, homes, rules)) for kind, found in identities.items()]
    alike = Edges.together(edges for _, edges in near)
    if further is not None:
        near.append(("embedding", further(items, homes)))
    findings = find_pairs(with_wholes(items, alike), near, rules)
    return Audited(findings, decide(findings, rules), homes)


def why_stop(audited: Audited, rules: AuditRules) -> list[str]:
    """Why the run must stop, if it must."""
    why = [
        f"{len(failing)} pairs of {kind} ({scope} splits) whose policy is to fail"
        for (kind, scope), failing in _grouped(audited).items()
    ]
    why += [line for kind, line in not_compared(audited).items() if rules.policies.action(kind, "across") == "fail"]
    total = len(audited.findings.records.split)
    if audited.changed > rules.maximum_changed_share * total:
        why.append(
            f"the policies would drop or move {audited.changed} of {total} records, more than "
            f"maximum_changed_share={rules.maximum_changed_share:.0%}"
        )
    if len(audited.verdicts.refused) == total:
        why.append("no record would be left")
    return why


def not_compared(audited: Audited) -> dict[str, str]:
    """By kind, which leaks may have been missed, in words."""
    return {
        kind: f"{count} pairs of {kind} between splits share a key that too many have, and were not compared; look at "
        f"what they share, or raise {'text' if kind == 'text' else 'media'}.crossing"
        for kind, count in audited.findings.left_out.items()
    }


def _grouped(audited: Audited) -> dict[tuple[str, str], list[object]]:
    found: dict[tuple[str, str], list[object]] = {}
    for pair in audited.verdicts.failing:
        found.setdefault((pair.kind, pair.scope), []).append(pair)
    return found


def examples(audited: Audited, count: int = 5) -> list[str]:
    """The first failing pairs in words, or the first of all when none fails."""
    pairs, name = audited.verdicts.failing or audited.findings.pairs, audited.findings.records.name
    return [f"{pair.kind}, {pair.match}: {name(pair.records[0])} / {name(pair.records[1])}" for pair in pairs[:count]]

"""The sheet of samples: one card for each record, with its media, and boxes to choose among them."""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.pages import page, paragraph
from components.sheet.assets import SCRIPT, STYLE, policy
from components.sheet.media import Budget, show, unseen
from data.access import MediaAccess
from data.sheet.sample import Drawn, Sample
from model.encoder import Limits
from model.errors import DataError
from model.progress import progress

FILTERS = ("source", "task", "split", "language", "modality", "reason")
MOST_CONTENTS = 6
MOST_CHARACTERS = 2_000
MEGABYTE = 1_000_000


def sheet_page(drawn: Drawn, name: str, *, limits: Limits, megabytes: float) -> str:
    """The whole page, which needs no other file.

    Args:
        drawn: the records to show.
        name: what they were drawn from, for the title.
        limits: under which media are decoded.
        megabytes: room for media; what does not fit is left out and counted.
    """
    access, budget = MediaAccess(), Budget(int(megabytes * MEGABYTE))
    made = progress(drawn.samples, total=len(drawn.samples), desc="sheet", unit="record")
    facts = [_facts(sample) for sample in drawn.samples]
    cards = [_card(sample, fact, drawn, access, limits, budget) for sample, fact in zip(made, facts, strict=True)]
    return page(
        f"{'Refused' if drawn.refused else 'Samples'}: {name}",
        f'<p class="lead">{html.escape(_lead(drawn, budget))}</p>',
        *(paragraph(f"{shard} cannot be read: {why}", bad=True) for shard, why in drawn.broken.items()),
        _form(facts, len(cards)),
        f"<main>{''.join(cards)}</main><script>{SCRIPT}</script>",
        head=f"{policy()}<style>{STYLE}</style>",
    )


def _lead(drawn: Drawn, budget: Budget) -> str:
    said = (
        f"{len(drawn.samples):,} of {drawn.total:,} records, from {drawn.shown:,} of {drawn.strata:,} strata; the same "
        "every time."
    )
    return f"{said} {budget.refused:,} media left out: the page is full (--megabytes)." if budget.refused else said


def _facts(sample: Sample) -> dict[str, list[str]]:
    """Values that a record is chosen by."""
    row = sample.row
    parts = [
        part for role in ("query", "positives", "negatives") for content in _contents(row, role) for part in content
    ]
    return {
        "source": [str(row.get("source") or "row")],
        "task": [str(row.get("task") or "")],
        "split": [str(row.get("split") or "")],
        "language": [str(tag) for tag in row.get("languages") or ()],
        "modality": sorted({str(part.get("modality")) for part in parts}),
        "reason": list(sample.reasons),
    }


def _form(facts: Sequence[dict[str, list[str]]], count: int) -> str:
    boxes = []
    for name in FILTERS:
        values = sorted({value for fact in facts for value in fact[name] if value})
        if len(values) > 1 or (name == "reason" and values):
            options = "".join(f'<option value="{_token(v)}">{html.escape(v[:80])}</option>' for v in values)
            boxes.append(
                f'<select name="{name}" aria-label="{name}"><option value="">any {name}</option>{options}</select>'
            )
    search = '<input name="words" type="search" placeholder="search words" aria-label="words">'
    return f'<form>{"".join(boxes)}{search}<button type="reset">all</button><span id="count">{count}</span></form>'


def _card(
    sample: Sample, facts: dict[str, list[str]], drawn: Drawn, access: MediaAccess, limits: Limits, budget: Budget
) -> str:
    data = " ".join(f'data-{name}="{" ".join(map(_token, values))}"' for name, values in facts.items())
    chips = [(kind, value) for kind in ("reason", "source", "task", "language") for value in facts[kind] if value]
    chips.insert(len(facts["reason"]), (f"split {_split(facts)}", "".join(facts["split"])))
    chips += [("license", str(sample.row.get("license") or "")), ("group", str(sample.row.get("group") or ""))]
    marks = "".join(
        f'<span class="chip {kind}" title="{kind.split()[0]}: {html.escape(value)}">{html.escape(value[:120])}</span>'
        for kind, value in chips
        if value
    )
    message = f'<div class="message">{html.escape(sample.message)}</div>' if sample.message else ""
    if "raw" in sample.row:
        body = f"<pre>{html.escape(str(sample.row['raw'])[:MOST_CHARACTERS])}</pre>"
        where = f"row {sample.row.get('row')}"
    else:
        body = f'<div class="sides">{_sides(sample, drawn, access, limits, budget)}</div>'
        where = str(sample.row.get("id"))
    end = f"<footer>{html.escape(where)} in {html.escape(sample.shard.name)}</footer>"
    return f"<article {data}><header>{marks}</header>{message}{body}{end}</article>"


def _sides(sample: Sample, drawn: Drawn, access: MediaAccess, limits: Limits, budget: Budget) -> str:
    def contents(role: str) -> str:
        found = _contents(sample.row, role)
        shown = [
            f'<div class="content">{"".join(_part(p, sample, drawn, access, limits, budget) for p in content)}</div>'
            for content in found[:MOST_CONTENTS]
        ]
        rest = f"<small>and {len(found) - MOST_CONTENTS} more</small>" if len(found) > MOST_CONTENTS else ""
        return "".join(shown) + rest or unseen("nothing")

    sides = [
        f'<div class="side"><h3>query</h3>{contents("query")}</div>',
        f'<div class="side positive"><h3>positive</h3>{contents("positives")}</div>',
    ]
    if _contents(sample.row, "negatives"):
        row = f'<div class="row">{contents("negatives")}</div>'
        sides.append(f'<div class="side negative negatives"><h3>negative</h3>{row}</div>')
    return "".join(sides)


def _contents(row: dict[str, Any], role: str) -> list[list[dict[str, Any]]]:
    """Contents of a role as lists of parts; what a refused record lacks is empty."""
    found = row.get(role) or []
    contents = [found] if role == "query" and found else found
    return [[part for part in content or () if part] for content in contents]


def _part(
    part: dict[str, Any], sample: Sample, drawn: Drawn, access: MediaAccess, limits: Limits, budget: Budget
) -> str:
    text, digest = part.get("text"), part.get("media")
    shown = ""
    if digest is not None:
        refused = drawn.media.get((sample.shard.name, digest))
        shown += unseen(refused) if refused else ""
        shown += _medium(str(part.get("modality")), digest, sample.shard, access, limits, budget)
    if text is not None or digest is None:
        text = str(text or "")
        cut = " …" if len(text) > MOST_CHARACTERS else ""
        shown += (
            f'<p dir="auto">{html.escape(text[:MOST_CHARACTERS])}{cut}</p>' if text.strip() else unseen("an empty text")
        )
    return shown


def _medium(modality: str, digest: str, shard: Path, access: MediaAccess, limits: Limits, budget: Budget) -> str:
    try:
        data = access(shard, digest)
    except KeyError:
        return unseen(f"{shard.name} has no medium {digest}")
    except DataError as error:
        return unseen(str(error))
    return show(modality, data, limits, budget)


def _split(facts: dict[str, list[str]]) -> str:
    name = "".join(facts["split"])
    return name if name in ("train", "validation", "test") else ""


def _token(value: str) -> str:
    """A value as one word of a ``data-`` attribute."""
    return html.escape(re.sub(r"\s+", "_", value[:80]))

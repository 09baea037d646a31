"""Queries with what they got, and with what was ranked as high and refused: what a person should look at first."""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from components.evaluate.examples import STYLE, content_html
from data.mining.knowledge import Document
from data.mining.miner import ALLOWED, Miner
from data.mining.select import Negative
from data.records import ContentRef, Record
from model.content import Content, media_digest

REFUSED, POSITIVES = 3, 2

Resolve = Callable[[Record, ContentRef], Content]


@dataclass(frozen=True)
class Shown:
    """One document of an example: its content, cosine with the query, and the verdict or rule."""

    content: Content
    score: float
    verdict: str


@dataclass(frozen=True)
class Example:
    """A query, its positives, what it got, and the best ranked of what was refused."""

    query: Content
    positives: Sequence[Shown]
    negatives: Sequence[Shown]
    refused: Sequence[Shown]


def examples_of(
    miner: Miner, taken: Mapping[str, Sequence[Negative]], resolve: Resolve, *, count: int, seed: int
) -> list[Example]:
    """Examples of a task; which ones is a hash of the seed, not how well they went."""
    asks = miner.pool.asks
    names = [media_digest(f"{seed}|{'|'.join(ask.query.key)}|{ask.label}".encode()) for ask in asks]
    chosen = sorted(range(len(asks)), key=names.__getitem__)[:count]
    return [_example(miner, ask, taken, resolve) for ask in chosen]


def _example(miner: Miner, ask: int, taken: Mapping[str, Sequence[Negative]], resolve: Resolve) -> Example:
    pool, asked = miner.pool, miner.pool.asks[ask]

    def shown(document: Document, score: float, verdict: str) -> Shown:
        return Shown(resolve(document.records[0], document.ref), score, verdict)

    positives = miner.positives(ask)[:POSITIVES]
    refused = [one for one in miner.examine(ask) if one.verdict not in (ALLOWED, "positive", "above_window")]
    best = sorted(refused, key=lambda one: -one.score)[:REFUSED]
    return Example(
        resolve(asked.query.record, asked.query.ref),
        [shown(pool.documents[i], float(pool.document_PD[i] @ pool.ask_AD[ask]), "positive") for i in positives],
        [shown(negative.document, negative.score, "mined") for negative in taken[asked.records[0].id]],
        [shown(pool.documents[one.place], one.score, one.verdict) for one in best],
    )


def examples_html(examples: Sequence[Example]) -> str:
    """The examples of one task."""
    return STYLE + "".join(map(_row, examples))


def _row(example: Example) -> str:
    cells = [f"<div class=q>{content_html(example.query)}</div>"]
    for title, group in (("right", example.positives), ("mined", example.negatives), ("refused", example.refused)):
        if group:
            cells.append(f'<div class=s style="flex-basis:3rem">{title}</div>')
        cells += [_cell(one, right=title == "right") for one in group]
    return f"<div class=ex>{''.join(cells)}</div>"


def _cell(one: Shown, *, right: bool) -> str:
    why = "" if one.verdict in ("positive", "mined") else f"<br>{html.escape(one.verdict.replace('_', ' '))}"
    framed = " class=ok" if right else ""
    return f"<div{framed}>{content_html(one.content)}<br><span class=s>{one.score:.3f}{why}</span></div>"

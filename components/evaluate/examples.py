"""Real examples for the report: queries with what the candidate found first, playable and visible in the page."""

import base64
import hashlib
import html
from collections.abc import Sequence

import numpy as np

from components.evaluate.measure import Measured, vectors
from data.benchmarks.base import RetrievalSet
from model.content import Content, Modality, Part

TOP = 5
TEXT_LIMIT = 220
PREFERRED = ("/en", "-en", "en-")
SIGNATURES = {b"\x89PNG": "image/png", b"RIFF": "image/webp", b"\xff\xd8": "image/jpeg", b"GIF8": "image/gif"}
STYLE = """<style>
.ex{display:flex;gap:.7rem;align-items:center;border-bottom:1px solid #dde3ea;padding:.5rem 0;overflow-x:auto}
.ex>div{flex:0 0 9.2rem;text-align:center;font-size:.8rem}.ex>div.q{flex-basis:13rem;text-align:left;font-size:.9rem}
.ex img,.ex video{width:76px;height:76px;object-fit:contain;background:#f3f6f9;border-radius:6px}
.ex audio{width:12rem;height:2rem}.ex pre{white-space:pre-wrap;font-size:.7rem;text-align:left;margin:0}
.ok{outline:3px solid #2b8a3e;border-radius:6px;padding:.2rem}.s{color:#5c6773}
</style>"""


def examples(measured: Measured, count: int) -> str:
    """HTML of ``count`` queries per task with their top five; queries are chosen by hash, not by success."""
    blocks = []
    for name in dict.fromkeys(s.benchmark.name for s in measured.sets):
        found = _one_subset([s for s in measured.sets if s.benchmark.name == name])
        rows = "".join(_row(measured, found, i) for i in _chosen(found, count))
        blocks.append(
            f"<details open><summary>{html.escape(found.benchmark.title)} · {found.subset}</summary>{rows}</details>"
        )
    return STYLE + "".join(blocks)


def _one_subset(sets: Sequence[RetrievalSet]) -> RetrievalSet:
    english = [s for s in sets if any(mark in s.subset for mark in PREFERRED)]
    return (english or list(sets))[0]


def _chosen(found: RetrievalSet, count: int) -> list[int]:
    keys = [hashlib.blake2b(name.encode(), digest_size=8).hexdigest() for name in found.query_ids]
    return sorted(range(len(keys)), key=keys.__getitem__)[:count]


def _row(measured: Measured, found: RetrievalSet, query: int) -> str:
    queries_QD, documents_PD = vectors(measured.model, found)
    scores_P = documents_PD @ queries_QD[query]
    allowed = np.asarray(found.candidates[query] if found.candidates else range(len(documents_PD)))
    best = allowed[np.argsort(-scores_P[allowed], kind="stable")][:TOP]
    cells = [f'<div class=q>{content_html(found.queries[query])}</div><div class=s style="flex-basis:1rem">→</div>']
    for document in best:
        right = " class=ok" if document in found.right[query] else ""
        shown = content_html(found.documents[document])
        cells.append(f"<div{right}>{shown}<br><span class=s>{scores_P[document]:.3f}</span></div>")
    return f"<div class=ex>{''.join(cells)}</div>"


def content_html(content: Content) -> str:
    """Parts of a content as HTML with their media inside."""
    return " ".join(_part(part) for part in content.parts)


def _part(part: Part) -> str:
    if part.modality is Modality.TEXT or part.data is None:
        value = part.text or ""
        shown = html.escape(value[:TEXT_LIMIT] + ("…" if len(value) > TEXT_LIMIT else ""))
        return f"<pre>{shown}</pre>" if "\n" in value else f"<span>{shown}</span>"
    encoded = base64.b64encode(part.data).decode()
    if part.modality is Modality.IMAGE:
        kind = next((mime for mark, mime in SIGNATURES.items() if part.data.startswith(mark)), "image/png")
        return f'<img alt="" loading=lazy src="data:{kind};base64,{encoded}">'
    if part.modality is Modality.AUDIO:
        return f'<audio controls preload=none src="data:audio/ogg;base64,{encoded}"></audio>'
    if part.modality is Modality.VIDEO:
        return f'<video muted loop autoplay playsinline src="data:video/mp4;base64,{encoded}"></video>'
    return f"<span>{part.modality}</span>"

"""Self-contained HTML pages of the steps: plots first as inline SVG, tables after, other tools' pages embedded."""

import html
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Types that browsers show or play, by the container that the bytes are in (``model.media.containers.sniff``).
PICTURES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
SOUNDS = {"wav": "audio/wav", "ogg": "audio/ogg", "mp3": "audio/mpeg", "flac": "audio/flac"}
CLIPS = {"mp4": "video/mp4", "webm": "video/webm"}
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1d2733}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}svg{max-width:100%;height:auto}
table{border-collapse:collapse;margin:.6rem 0}th,td{padding:.25rem .7rem;border-bottom:1px solid #dde3ea}
th,td{text-align:left}
.n{text-align:right;font-variant-numeric:tabular-nums}th{background:#f3f6f9}
iframe{width:100%;height:48rem;border:1px solid #dde3ea}summary{cursor:pointer;margin:.6rem 0}
.bad{color:#b3261e;font-weight:600}.plot{overflow-x:auto}
@media(max-width:44rem){body{margin:1rem auto;overflow-wrap:anywhere}
table{display:block;overflow-x:auto;overflow-wrap:normal}
.plot svg{max-width:none;width:44rem}}
"""


def page(title: str, *sections: str, head: str = "") -> str:
    """A whole HTML document; ``head`` is trusted HTML for its head, such as a further style."""
    name = html.escape(title)
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head = f"<head>{meta}<title>{name}</title><style>{_STYLE}</style>{head}</head>"
    return f"<!doctype html><html lang=en>{head}<body><h1>{name}</h1>{''.join(sections)}</body></html>\n"


def section(title: str, *blocks: str) -> str:
    """A headed part of a page."""
    return f"<h2>{html.escape(title)}</h2>{''.join(blocks)}"


def paragraph(text: str, *, bad: bool = False) -> str:
    """A paragraph of plain text; ``bad`` marks it as a problem."""
    return f"<p{' class=bad' if bad else ''}>{html.escape(text)}</p>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; numbers are right-aligned, ``None`` is a dash."""
    rows = list(rows)
    numbers = [all(_is_number(row[place]) for row in rows) and bool(rows) for place in range(len(columns))]
    head = "".join(
        f"<th{' class=n' if number else ''}>{html.escape(column)}</th>"
        for column, number in zip(columns, numbers, strict=True)
    )
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def embedded(title: str, document: str) -> str:
    """Another tool's whole HTML document in a frame of its own, folded until asked for."""
    source = html.escape(document, quote=True)
    return f'<details><summary>{html.escape(title)}</summary><iframe srcdoc="{source}"></iframe></details>'


def svg(figure: "Figure") -> str:
    """A matplotlib figure as inline SVG."""
    import matplotlib as mpl

    buffer = io.StringIO()
    # A fixed salt makes the element ids, and so the page, reproducible.
    with mpl.rc_context({"svg.hashsalt": "omnivec"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    return f"<div class=plot>{text[text.index('<svg') :]}</div>"


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value.endswith("%") and value[:-1].replace(".", "", 1).isdigit()
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    if value is None:
        return "<td class=n>–</td>"
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int):
        return f"<td class=n>{value:,}</td>"
    if isinstance(value, float):
        return f"<td class=n>{value:.3f}</td>"
    return f"<td{' class=n' if _is_number(value) else ''}>{html.escape(str(value))}</td>"

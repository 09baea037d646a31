"""Rows to files: JSON for machines, a markdown table for people."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.rows import Row


def write_report(rows: Sequence[Row], directory: Path) -> tuple[Path, Path]:
    """Write ``latest.json`` and ``latest.md`` into ``directory``; returns both paths."""
    directory.mkdir(parents=True, exist_ok=True)
    document, table = directory / "latest.json", directory / "latest.md"
    document.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    table.write_text(markdown(rows), encoding="utf-8")
    return document, table


def markdown(rows: Sequence[Row]) -> str:
    """Table with one line per row, then the notes and the hardware."""
    lines = ["| what | ours | peer | ratio | unit | peer is |", "|---|--:|--:|--:|---|---|"]
    lines += [f"| {r.name} | {r.ours:g} | {r.peer_value:g} | {r.ratio:.2f} | {r.unit} | {r.peer} |" for r in rows]
    lines += ["", *(f"- **{row.name}**: {row.note}" for row in rows)]
    lines += ["", *(f"Measured on {hardware}." for hardware in dict.fromkeys(row.hardware for row in rows))]
    return "\n".join(lines) + "\n"

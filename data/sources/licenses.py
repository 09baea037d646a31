"""LICENSES.md of the starter corpus: who made what is in each shard, under which licence."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data.shards import read_records
from data.sources.packages import PACKAGES


@dataclass(frozen=True)
class Credit:
    """Origin of one package's content."""

    what: str
    authors: str
    license: str
    shards: tuple[str, ...]
    changes: str


_DRAWN = ("motion", "interleaved")
CREDITS: Mapping[str, Credit] = {
    "cldr-names": Credit(
        "Emoji short names and keywords (Unicode CLDR annotations)",
        "Unicode, Inc. and the contributors to CLDR",
        "Unicode-3.0",
        ("emoji-fluent", "emoji-noto", "emoji-twemoji", "emoji-openmoji", *_DRAWN),
        "24 languages chosen; combined into captions",
    ),
    "cldr-derived": Credit(
        "Derived emoji names: flags, families (Unicode CLDR)",
        "Unicode, Inc. and the contributors to CLDR",
        "Unicode-3.0",
        ("emoji-fluent", "emoji-noto", "emoji-twemoji", "emoji-openmoji"),
        "24 languages chosen",
    ),
    "fluent": Credit(
        "Fluent Emoji 3D drawings",
        "Microsoft Corporation; packaged by LobeHub",
        "MIT",
        ("emoji-fluent",),
        "scaled to 128 px, put on white, WebP",
    ),
    "noto": Credit(
        "Noto Emoji drawings",
        "Google LLC; packaged by the emoji-data project of Cal Henderson",
        "Apache-2.0",
        ("emoji-noto", *_DRAWN),
        "put on white, WebP; composed, transformed and animated",
    ),
    "twemoji": Credit(
        "Twemoji drawings",
        "Twitter, Inc. and other contributors; packaged by the emoji-data project of Cal Henderson",
        "CC-BY-4.0",
        ("emoji-twemoji", *_DRAWN),
        "put on white, WebP; composed, transformed and animated",
    ),
    "openmoji": Credit(
        "OpenMoji drawings; its subgroups also chose the objects of the composed shards",
        "OpenMoji, the open-source emoji and icon project, HfG Schwäbisch Gmünd, and its contributors",
        "CC-BY-SA-4.0",
        ("emoji-openmoji",),
        "rendered at 128 px on white, WebP; used for evaluation only",
    ),
    "stamps": Credit(
        "Tux Paint stamps: pictures, captions, spoken captions",
        "Bill Kendrick and the Tux Paint contributors, translators and speakers (named in the package's changelog)",
        "GPL-2.0-or-later",
        ("stamps", "stamps-speech"),
        "pictures cropped and scaled to 128 px on white, WebP; long captions cut to a sentence; speech trimmed, Opus",
    ),
    "help-en-us": Credit(
        "LibreOffice help and its translations (the nine libreoffice-help packages)",
        "The Document Foundation, LibreOffice contributors and translators; Oracle and/or its affiliates",
        "MPL-2.0",
        ("libreoffice-bitext", "libreoffice-help"),
        "single paragraphs, headings and passages taken out of the pages",
    ),
    "python-stdlib": Credit(
        "Python 3.11 standard library",
        "Python Software Foundation and contributors",
        "Python-2.0",
        ("python-stdlib",),
        "single functions, docstrings separated",
    ),
}

_INTRODUCTION = """# Licences of the starter corpus

Every record names the SPDX licence of everything in it; a recipe keeps what it allows with `licenses.allow`. One shard
holds one source, so deleting a file drops a source. Omnivec's own code is Apache-2.0; the shards below are an
aggregate beside it and keep their licences.

- **GPL material** (`stamps`, `stamps-speech`) is kept in files of its own. The copyright file of the package says GPL
  version 2 or, at your option, any later version. Delete both files to have a corpus without it. The source form of
  the pictures and recordings is the package named below.
- **Share-alike** (`emoji-openmoji`, CC-BY-SA-4.0) is an evaluation set: all its records are in the test split.
- **Attribution** (`emoji-twemoji`, and `motion` and `interleaved`, which are composed of Noto and Twemoji drawings):
  drawings © Twitter, Inc. and other contributors, CC-BY-4.0, changed as said below.
- A few functions of the standard library carry notices of their own in Python's licence file; all are permissive.
"""


def write_licenses(directory: Path) -> None:
    """Write ``LICENSES.md`` for the shards that are in ``directory``."""
    lines = [_INTRODUCTION, "## By shard", "", "| shard | SPDX expression |", "|---|---|"]
    for path in sorted(directory.glob("*.parquet")):
        expressions = sorted({record.license for record in read_records(path)})
        lines.append(f"| {path.stem} | {', '.join(f'`{e}`' for e in expressions)} |")
    lines += ["", "## By origin", ""]
    for name, credit in CREDITS.items():
        package = PACKAGES[name]
        lines += [
            f"### {credit.what}",
            f"- from: {package.kind} package `{package.name}` {package.version}",
            f"- by: {credit.authors}",
            f"- licence: `{credit.license}`",
            f"- in: {', '.join(credit.shards)}",
            f"- changes: {credit.changes}",
            "",
        ]
    (directory / "LICENSES.md").write_text("\n".join(lines), encoding="utf-8")

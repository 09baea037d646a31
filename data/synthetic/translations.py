"""Names in other languages, looked up in a bilingual table that the user brings (CLDR names, iso-codes, a glossary)."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from data.languages import is_language_tag
from data.records import Record
from data.synthetic.config import Translations
from data.synthetic.making import Made, Make, Outcome, label_of, synthetic, text_content
from model.errors import DataError

MOST_ROWS = 5_000_000
LONGEST = 200
DOUBTFUL = ""
Names = dict[str, dict[str, str]]


def maker(config: Translations) -> Make:
    """What the table makes of a record.

    Raises:
        DataError: the table cannot be read, or lacks a column.
    """
    names = read_table(config.table, config.source_language, config.languages)

    def make(record: Record) -> Outcome:
        label = label_of(record)
        if label is None:
            return Outcome(skipped="query_is_no_single_text")
        if config.source_language not in record.languages:
            return Outcome(skipped="label_in_another_language")
        if key(label) not in names:
            return Outcome(skipped="not_in_the_table")
        found = {language: name for language, name in names[key(label)].items() if name != DOUBTFUL}
        if not found:
            return Outcome(skipped="doubtful_in_the_table")
        license_ = _joined(record.license, config.license)
        made = []
        for language, name in found.items():
            if "query" in config.makes:
                fields = {"query": text_content(name), "languages": (language,), "license": license_}
                made.append(Made(synthetic(record, f"translation/{language}", **fields)))
            if "bitext" in config.makes:
                made.append(Made(_bitext(record, label, name, (config.source_language, language), license_)))
        return Outcome(tuple(made))

    return make


def read_table(path: Path, source_language: str, languages: tuple[str, ...] = ()) -> Names:
    """Names by the label in the source language; ``DOUBTFUL`` where the table gives several, or no name at all.

    Args:
        path: CSV or TSV with language tags in the first line, or JSON Lines of objects with them as keys.
        source_language: column of the labels.
        languages: columns to take; every other one that is named by a language tag when empty.

    Raises:
        DataError: the file cannot be read, or a column is missing.
    """
    names: Names = {}
    try:
        for number, row in enumerate(_rows(path), start=1):
            if number > MOST_ROWS:
                raise DataError(f"{path} has more than {MOST_ROWS:,} rows; split it by language")
            missing = [column for column in (source_language, *languages) if number == 1 and column not in row]
            if missing:
                raise DataError(f"{path} has no column {missing[0]!r}; there are {', '.join(row)}")
            _take(names, row, source_language, languages)
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise DataError(
            f"the table of names {path} cannot be read: {error}. Give CSV, TSV or JSON Lines in UTF-8 with a column "
            "for each language; there is no machine translation here"
        ) from error
    return names


def key(label: str) -> str:
    """Form under which a label is looked up: case, outer spaces and a final stop do not count."""
    return " ".join(label.casefold().rstrip(" .!").split())


def _take(names: Names, row: dict[str, str], source_language: str, languages: tuple[str, ...]) -> None:
    label = (row.get(source_language) or "").strip()
    wanted = languages or tuple(c for c in row if c != source_language and is_language_tag(c))
    found = {language: (row.get(language) or "").strip() for language in wanted}
    found = {language: name for language, name in found.items() if name and name != label}
    if not label or not found:
        return
    before = names.setdefault(key(label), {})
    for language, name in found.items():
        # Of a label with two names nothing tells which is meant, and what is that long is no name.
        before[language] = name if before.get(language, name) == name and len(name) <= LONGEST else DOUBTFUL


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix in (".jsonl", ".ndjson"):
            for line in file:
                if line.strip():
                    yield {str(name): str(value) for name, value in json.loads(line).items() if value is not None}
        else:
            yield from csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)


def _bitext(record: Record, label: str, name: str, languages: tuple[str, str], license_: str) -> Record:
    fields: dict[str, object] = {"query": text_content(label), "positives": (text_content(name),), "negatives": ()}
    fields |= {"languages": languages, "license": license_, "task": "bitext"}
    return synthetic(record, f"bitext/{languages[1]}", **fields)


def _joined(first: str, second: str) -> str:
    """Both licences; one that is there already is not repeated."""
    if second in first.split(" AND "):
        return first
    return " AND ".join(f"({one})" if " OR " in one else one for one in (first, second))

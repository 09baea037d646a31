"""From a row to the draft of a record: texts and places of media, nothing fetched yet."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from data.importing.mapping import FIELD, Mapping, PartSpec, Value
from data.importing.refusal import Refused
from data.importing.rows import Row, Stored
from data.languages import is_language_tag
from data.licenses import is_allowed
from model.content import Modality
from model.errors import DataError

SHOWN = 80


@dataclass(frozen=True, slots=True)
class DraftPart:
    """A part: text, or a medium by path, URI or place in the source."""

    modality: Modality
    value: str | Stored


DraftContent = tuple[DraftPart, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A record before its media are there. ``group`` and ``id`` may be left to the content."""

    query: DraftContent
    positives: tuple[DraftContent, ...]
    negatives: tuple[DraftContent, ...]
    task: str
    languages: tuple[str, ...]
    license: str
    group: str | None
    id: str | None


def draft(mapping: Mapping, row: Row, *, text_chars: int, max_parts: int) -> Draft:
    """Apply a mapping to a row.

    Raises:
        Refused: the row cannot become a record.
    """
    found = Draft(
        query=_query(mapping, row.values, text_chars),
        positives=_contents(mapping.positives, row.values, text_chars),
        negatives=_contents(mapping.negatives, row.values, text_chars, optional=True),
        task=_scalar(mapping.task, row.values, "task"),
        languages=_languages(mapping.languages, row.values),
        license=_license(_scalar(mapping.license, row.values, "license")),
        group=None if mapping.group is None else _scalar(mapping.group, row.values, "group"),
        id=None if mapping.id is None else _scalar(mapping.id, row.values, "id"),
    )
    if not found.query:
        raise Refused("query_missing", "the query has no part: all of its columns are empty")
    if not found.positives:
        raise Refused("positive_missing", "there is no positive: all of their columns are empty")
    longest = max(len(content) for content in (found.query, *found.positives, *found.negatives))
    if longest > max_parts:
        raise Refused("too_many_parts", f"a content has {longest} parts; limits.max_parts is {max_parts}")
    return found


_ABSENT = object()


def lookup(values: dict[str, Any], name: str) -> Any:
    """Value of a column, or of one in nested columns; ``_ABSENT`` when there is no such column."""
    if name in values:
        return values[name]
    head, dot, tail = name.partition(".")
    while dot:
        inner = values.get(head)
        if isinstance(inner, dict):
            found = lookup(inner, tail)
            if found is not _ABSENT:
                return found
        more, dot, tail = tail.partition(".")
        head = f"{head}.{more}"
    return _ABSENT


def has_column(values: dict[str, Any], name: str) -> bool:
    """Whether a row has a column, were it empty."""
    return lookup(values, name) is not _ABSENT


def _empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value or value.isspace()
    if isinstance(value, float):
        return math.isnan(value)  # what pandas makes of nothing
    return value is None or value is _ABSENT or value in ([], ())


def _query(mapping: Mapping, values: dict[str, Any], most: int) -> DraftContent:
    parts: list[DraftPart] = []
    for spec in mapping.query:
        value = _part_value(spec, values)
        items = value if isinstance(value, list) else [] if value is None else [value]
        parts += [_part(spec, item, most) for item in items]
    return tuple(parts)


def _contents(
    specs: Iterable[tuple[PartSpec, ...]], values: dict[str, Any], most: int, *, optional: bool = False
) -> tuple[DraftContent, ...]:
    found: list[DraftContent] = []
    for spec in specs:
        try:
            columns = [_part_value(part, values) for part in spec]
        except Refused:
            if optional:
                continue
            raise
        lengths = {len(value) for value in columns if isinstance(value, list)}
        if len(lengths) > 1:
            raise Refused(
                "lists_differ", f"the lists of one content have {sorted(lengths)} elements; they go together one by one"
            )
        for i in range(next(iter(lengths), 1)):
            items = [value[i] if isinstance(value, list) else value for value in columns]
            parts = [_part(part, item, most) for part, item in zip(spec, items, strict=True) if item is not None]
            if parts:
                found.append(tuple(parts))
    return tuple(found)


def _part_value(spec: PartSpec, values: dict[str, Any]) -> Any:
    """Value of a part: one, a list, or ``None`` where it may be left out."""
    if spec.template is not None:
        try:
            return _filled(spec.template, values)
        except Refused:
            if spec.optional:
                return None
            raise
    assert spec.column is not None
    value = lookup(values, spec.column)
    if not _empty(value):
        return value
    if spec.optional:
        return None
    raise _missing(spec.column, value, values)


def _part(spec: PartSpec, value: Any, most: int) -> DraftPart:
    if spec.modality is Modality.TEXT:
        return DraftPart(spec.modality, _text(value, spec, most))
    if isinstance(value, Stored):
        return DraftPart(spec.modality, value)
    if isinstance(value, str) and value.strip():
        return DraftPart(spec.modality, value)
    raise Refused(
        "media_not_a_path", f"{_name(spec)} holds {_shown(value)}; of {spec.modality} a path, URI or bytes are expected"
    )


def _text(value: Any, spec: PartSpec, most: int) -> str:
    if isinstance(value, Stored | dict | list) or _empty(value):
        raise Refused("text_empty" if _empty(value) else "not_a_text", f"{_name(spec)} holds {_shown(value)}, no text")
    text = value if isinstance(value, str) else str(value)
    if len(text) > most:
        raise Refused("text_too_long", f"{_name(spec)} has {len(text)} characters; sizes.text_chars is {most}")
    _unicode(text, _name(spec))
    return text


def _scalar(spec: Value, values: dict[str, Any], role: str) -> str:
    if spec.constant is not None:
        return spec.constant
    try:
        if spec.template is not None:
            text = _filled(spec.template, values)
        else:
            assert spec.column is not None
            value = lookup(values, spec.column)
            if _empty(value) or isinstance(value, Stored | dict | list):
                raise _missing(spec.column, value, values)
            text = str(value).strip()
    except Refused as refused:
        if spec.default is not None:
            return spec.default
        raise Refused(f"{role}_missing", refused.message) from refused
    _unicode(text, role)
    return spec.map.get(text, text)


def _languages(specs: Iterable[Value], values: dict[str, Any]) -> tuple[str, ...]:
    tags: list[str] = []
    for spec in specs:
        if spec.constant is not None:  # looked at with the configuration
            tags.append(spec.constant)
            continue
        value = lookup(values, spec.column) if spec.column is not None else None
        if isinstance(value, list) and value:
            tags += [spec.map.get(str(tag), str(tag)) for tag in value]
        else:
            tags.append(_scalar(spec, values, "languages"))
    if wrong := [tag for tag in tags if not _is_tag(tag)]:
        raise Refused("language_tag_invalid", f"{wrong[0]!r} is no BCP-47 tag such as en or pt-BR; languages.map helps")
    return tuple(dict.fromkeys(tags))


@lru_cache(maxsize=4096)
def _is_tag(tag: str) -> bool:
    return is_language_tag(tag)


@lru_cache(maxsize=4096)
def _spdx_problem(expression: str) -> str | None:
    try:
        is_allowed(expression, ())
    except DataError as error:
        return f"{error}; license.map turns names as found into SPDX"
    return None


def _license(expression: str) -> str:
    if problem := _spdx_problem(expression):
        raise Refused("license_malformed", problem)
    return expression


def _filled(template: str, values: dict[str, Any]) -> str:
    parts, at = [], 0
    for match in FIELD.finditer(template):
        value = lookup(values, match[1])
        if _empty(value) or isinstance(value, Stored | dict | list):
            raise _missing(match[1], value, values)
        parts += [template[at : match.start()], str(value)]
        at = match.end()
    return "".join([*parts, template[at:]])


def _missing(column: str, value: Any, values: dict[str, Any]) -> Refused:
    if value is _ABSENT:
        return Refused(
            "column_missing", f"there is no column {column!r}; the row has {_shown(sorted(map(str, values)))}"
        )
    return Refused("column_empty", f"column {column!r} holds {_shown(value)}")


def _unicode(text: str, name: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Refused("text_not_unicode", f"{name} is no valid Unicode: {error}") from error


def _name(spec: PartSpec) -> str:
    return f"column {spec.column!r}" if spec.column is not None else f"template {spec.template!r}"


def _shown(value: Any) -> str:
    text = ascii(value) if not isinstance(value, Stored) else f"bytes at {value.place}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."

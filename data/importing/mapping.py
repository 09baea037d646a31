"""How the columns of a source become a record: configuration, written by a user in YAML.

A value is a constant, a column or a template. ``{name}`` in a template stands for a column; a dotted name reaches into
nested columns. Templates are filled by replacement only: no expression is evaluated.
"""

import re
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from data.languages import is_language_tag
from model.config import Config
from model.content import Modality

FIELD = re.compile(r"\{([^{}]*)\}")
NAME = re.compile(r"[^{}\s](?:[^{}]*[^{}\s])?")


class Value(Config):
    """Where a text comes from: exactly one of the three.

    Attributes:
        column: name of a column, dotted for nested ones.
        template: text with ``{column}`` in it.
        constant: the same for every row.
        default: instead of a column that is missing or empty.
        map: from values as found to values as wanted, such as names of licences to SPDX; others stay as they are.
    """

    column: str | None = Field(default=None, min_length=1)
    template: str | None = Field(default=None, min_length=1)
    constant: str | None = Field(default=None, min_length=1)
    default: str | None = Field(default=None, min_length=1)
    map: dict[str, str] = Field(default={})

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("column", "template", "constant") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of column, template and constant, not {' and '.join(given) or 'none'}")
        if self.template is not None:
            check_template(self.template)
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that this needs."""
        return (self.column,) if self.column is not None else tuple(FIELD.findall(self.template or ""))


class PartSpec(Config):
    """One part of a content.

    Attributes:
        modality: of the part. Of media the value is a path, a URI or the bytes themselves; of text, the text.
        column: name of a column, dotted for nested ones.
        template: text, or path, with ``{column}`` in it.
        optional: leave the part out where its column is missing or empty, instead of refusing the row.
    """

    modality: Modality
    column: str | None = Field(default=None, min_length=1)
    template: str | None = Field(default=None, min_length=1)
    optional: bool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.column is None) == (self.template is None):
            raise ValueError("give exactly one of column and template")
        if self.template is not None:
            check_template(self.template)
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that this needs."""
        return (self.column,) if self.column is not None else tuple(FIELD.findall(self.template or ""))


def check_template(template: str) -> None:
    """Refuse templates whose braces do not pair, or that name no column."""
    rest = FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        raise ValueError(f"template {template!r}: braces do not pair; write {{column}}")
    names = FIELD.findall(template)
    if not names:
        raise ValueError(f"template {template!r} names no column; write {{column}}, or use a constant")
    if bad := [name for name in names if not NAME.fullmatch(name)]:
        raise ValueError(f"template {template!r}: {bad[0]!r} is no name of a column")


def _as_value(given: Any) -> Any:
    return {"constant": given} if isinstance(given, str) else given


def _as_values(given: Any) -> Any:
    return [_as_value(one) for one in given] if isinstance(given, list) else [_as_value(given)]


def _as_contents(given: Any) -> Any:
    """A list of parts stands for one content."""
    if isinstance(given, list) and given and all(isinstance(one, dict) for one in given):
        return [given]
    return given


Field_ = Annotated[Value, BeforeValidator(_as_value)]
Fields = Annotated[tuple[Value, ...], BeforeValidator(_as_values), Field(min_length=1)]
ContentSpec = Annotated[tuple[PartSpec, ...], Field(min_length=1)]
Contents = Annotated[tuple[ContentSpec, ...], BeforeValidator(_as_contents)]


class Mapping(Config):
    """From the columns of a row to a record.

    A plain string stands for a constant, except in ``query``, ``positives`` and ``negatives``.

    Attributes:
        query: parts of the query, in order; a column that holds a list gives several parts.
        positives: contents, each a list of parts (one list of parts is one content). A column that holds a list gives
            a content for each of its elements.
        negatives: as positives; may be missing in any row.
        task: name of the task.
        languages: BCP-47 tags of query and positives; a column may hold a list.
        license: SPDX expression.
        group: leakage key: rows of a group fall in one split. Default: the digest of the first positive's content.
        id: of the row, unique in the source. Default: a digest of the content and the place of the row.
    """

    query: ContentSpec
    positives: Annotated[Contents, Field(min_length=1)]
    negatives: Contents = ()
    task: Field_
    languages: Fields = (Value(constant="und"),)
    license: Field_
    group: Annotated[Value | None, BeforeValidator(_as_value)] = None
    id: Annotated[Value | None, BeforeValidator(_as_value)] = None

    @model_validator(mode="after")
    def _constants_make_sense(self) -> Self:
        wrong = [v.constant for v in self.languages if v.constant is not None and not is_language_tag(v.constant)]
        if wrong:
            raise ValueError(f"languages: {wrong[0]!r} is no BCP-47 tag such as en or pt-BR; und for none")
        if self.group is not None and self.group.constant is not None:
            raise ValueError("group: a constant puts every row in one split; name a column, or leave it out")
        if self.id is not None and self.id.constant is not None:
            raise ValueError("id: a constant gives every row the same id; name a column, or leave it out")
        return self

    @property
    def parts(self) -> tuple[PartSpec, ...]:
        """Every part of every role."""
        return (*self.query, *(part for content in (*self.positives, *self.negatives) for part in content))

    @property
    def has_media(self) -> bool:
        """Whether anything but text is asked for."""
        return any(part.modality is not Modality.TEXT for part in self.parts)

    @property
    def required(self) -> frozenset[str]:
        """Columns without which no row can become a record."""
        parts = (*self.query, *(part for content in self.positives for part in content))
        values = (self.task, *self.languages, self.license, self.group, self.id)
        needed = [part.columns for part in parts if not part.optional]
        needed += [value.columns for value in values if value is not None and value.default is None]
        return frozenset(name for names in needed for name in names)

    @property
    def columns(self) -> frozenset[str]:
        """Every column that is used."""
        values = [self.task, *self.languages, self.license, self.group, self.id]
        used = [one.columns for one in (*self.parts, *values) if one is not None]
        return frozenset(name for names in used for name in names)

"""The rules of a corpus: ours, each with a reason and a severity that a recipe may change, and a user's own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from data.columns import TABLES, table_of
from data.known_expectations import COLUMN_ARGUMENTS, EXPECTATIONS
from data.records import SPLITS
from model.config import Config

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

# YAML reads a bare ``off`` as false.
Severity = Annotated[Literal["fail", "warn", "off"], BeforeValidator(lambda given: "off" if given is False else given)]
GX_SEVERITY = {"fail": "critical", "warn": "warning"}
REQUIRED = ("id", "task", "source", "license", "group", "split")


class Ranges(Config):
    """Bounds, inclusive, of what a record may hold; ``warn`` rules, since a long text is cut and not wrong."""

    tasks: tuple[str, ...] = (
        "text_to_image",
        "speech_to_text",
        "speech_to_image",
        "text_to_video",
        "composed_to_image",
        "bitext",
        "heading_to_passage",
        "docstring_to_code",
    )
    text_chars: tuple[int, int] = (1, 8_000)
    image_pixels: tuple[int, int] = (24 * 24, 40_000_000)
    audio_seconds: tuple[float, float] = (0.1, 60.0)
    media_bytes: tuple[int, int] = (32, 20_000_000)


class RuleSetting(Config):
    """What a recipe changes about one of our rules.

    Attributes:
        severity: ``fail`` quarantines rows that break the rule, ``warn`` reports them, ``off`` does not look.
        mostly: share of rows that must keep the rule; when fewer do, a ``fail`` rule stops the run.
    """

    severity: Severity | None = None
    mostly: float | None = Field(default=None, ge=0, le=1)


class OwnExpectation(Config):
    """An expectation that a recipe adds: its name in Great Expectations, the arguments of that beside it.

    Attributes:
        expect: such as ``ExpectColumnValuesToBeBetween``.
        severity: as of our rules.
        reason: under which rows are quarantined or reported; by default made of the name and the column.
        mostly: as of our rules.
        table: of an expectation about a whole table, which names no column.
    """

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    expect: str
    severity: Severity = "fail"
    reason: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$")
    mostly: float | None = Field(default=None, ge=0, le=1)
    table: Literal["records", "media", "texts"] | None = None

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        known = EXPECTATIONS.get(self.expect)
        if known is None:
            raise ValueError(f"no expectation {self.expect!r}; known are {', '.join(sorted(EXPECTATIONS))}")
        given = self.arguments
        if strange := sorted(given.keys() - set(known.arguments)):
            allowed = ", ".join(known.arguments) or "none"
            raise ValueError(f"{self.expect} has no argument {', '.join(strange)}; it takes {allowed}")
        if missing := [name for name in known.required if name not in given]:
            raise ValueError(f"{self.expect} lacks {', '.join(missing)}; it takes {', '.join(known.arguments)}")
        if not known.rows and self.mostly is not None:
            raise ValueError(f"{self.expect} is about a whole table: mostly, a share of rows, means nothing to it")
        _check_patterns(given)
        _table(self)
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the expectation as given."""
        return dict(self.model_extra or {})

    @property
    def name(self) -> str:
        """The reason."""
        if self.reason:
            return self.reason
        words = re.sub(r"(?<!^)(?=[A-Z][a-z])", "_", self.expect.removeprefix("Expect")).lower()
        return "_".join(["expected", words, *_columns(self.arguments)])

    def rule(self) -> "Rule":
        """As a rule."""
        return Rule(self.name, self.severity, self.expect, self.arguments, _table(self), mostly=self.mostly, own=True)


@dataclass(frozen=True)
class Rule:
    """One expectation.

    Attributes:
        reason: why a row is refused (fail) or reported (warn).
        severity: what happens to unexpected rows.
        kind: class name in ``great_expectations.expectations``.
        arguments: its arguments.
        table: ``records``, ``media`` or ``texts``; of the latter two all records that use a row are affected.
        reason_column: column that holds a more exact reason than ``reason``.
        mostly: share of rows that must keep the rule.
        own: whether a recipe brought it.
    """

    reason: str
    severity: Severity
    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)
    table: str = "records"
    reason_column: str | None = None
    mostly: float | None = None
    own: bool = False

    def build(self) -> "Expectation":
        """Make the expectation; ``meta`` carries the reason into the result."""
        import great_expectations.expectations as known

        make: type[Expectation] = getattr(known, self.kind)
        extra = {} if self.mostly is None else {"mostly": self.mostly}
        return make(**self.arguments, **extra, severity=GX_SEVERITY[self.severity], meta={"reason": self.reason})

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that it looks at."""
        return _columns(self.arguments)


def rules(
    ranges: Ranges, settings: Mapping[str, RuleSetting] | None = None, own: Sequence[OwnExpectation] = ()
) -> list[Rule]:
    """The rules that apply, ours with the recipe's changes and then the recipe's own, in the order of the report."""
    changed = []
    for rule in _ours(ranges):
        setting = (settings or {}).get(rule.reason, RuleSetting())
        changed.append(replace(rule, severity=setting.severity or rule.severity, mostly=setting.mostly))
    return [rule for rule in (*changed, *(item.rule() for item in own)) if rule.severity != "off"]


def rule_names() -> list[str]:
    """Reasons of our rules, which a recipe's ``rules`` may name."""
    return [rule.reason for rule in _ours(Ranges())]


def _ours(ranges: Ranges) -> list[Rule]:
    return [
        *(Rule(f"{name}_missing", "fail", "ExpectColumnValuesToNotBeNull", {"column": name}) for name in REQUIRED),
        Rule("duplicate_id", "fail", "ExpectColumnValuesToBeUnique", {"column": "id"}),
        _among("unknown_task", "task", ranges.tasks),
        _among("unknown_split", "split", SPLITS),
        _among("source_is_not_shard", "source_ok", [True]),
        _among("license_not_allowed", "license_state", ["allowed", "malformed"]),
        _among("license_malformed", "license_state", ["allowed", "refused"]),
        _among("language_tag_invalid", "languages_ok", [True]),
        _among("language_script_mismatch", "script", ["ok", "latin_only"]),
        _among("latin_in_other_script", "script", ["ok", "script_mismatch"], "warn"),
        _among("language_guess_mismatch", "language_guess", ["ok"], "warn"),
        Rule(
            "split_is_not_group_hash",
            "fail",
            "ExpectColumnPairValuesToBeEqual",
            {"column_A": "split", "column_B": "expected_split", "ignore_row_if": "either_value_is_missing"},
        ),
        _among("group_in_two_splits", "group_leaks", [False]),
        _among("evaluation_only_source", "evaluation_only_ok", [True]),
        _among("query_missing", "has_query", [True]),
        _among("positive_missing", "has_positives", [True]),
        _among("malformed_part", "malformed_part", [False]),
        _among("text_empty", "text_empty", [False]),
        replace(_among("media_unusable", "media_state", ["ok"]), reason_column="media_state"),
        replace(_among("media_blank", "media_blank", [False], "warn"), table="media"),
        _between("text_length", "text_chars", ranges.text_chars),
        _none_of("text_control_characters", "text_controls", "fail"),
        _none_of("text_replacement_characters", "text_replaced", "fail"),
        replace(_among("text_mojibake", "text_mojibake", [False], "warn"), table="texts"),
        _between("image_pixels", "image_pixels", ranges.image_pixels),
        _between("audio_seconds", "audio_seconds", ranges.audio_seconds),
        _between("media_bytes", "media_bytes", ranges.media_bytes),
    ]


def _among(reason: str, column: str, values: Sequence[Any], severity: Severity = "fail") -> Rule:
    return Rule(reason, severity, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(values)})


def _between(reason: str, column: str, bounds: tuple[float, float], severity: Severity = "warn") -> Rule:
    arguments = {"column": column, "min_value": bounds[0], "max_value": bounds[1]}
    kind = "ExpectColumnValuesToBeBetween"
    return Rule(f"{reason}_out_of_range", severity, kind, arguments, table_of(column) or "records")


def _none_of(reason: str, column: str, severity: Severity) -> Rule:
    return replace(_between(reason, column, (0, 0), severity), reason=reason)


def _check_patterns(given: Mapping[str, Any]) -> None:
    patterns = [given["regex"]] if "regex" in given else given.get("regex_list", [])
    for pattern in patterns:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error


def _columns(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    found: list[str] = []
    for name in COLUMN_ARGUMENTS:
        value = arguments.get(name, ())
        found += [value] if isinstance(value, str) else list(value)
    return tuple(found)


def _table(given: OwnExpectation) -> str:
    """The one table that an expectation is about."""
    columns = _columns(given.arguments)
    if strange := [name for name in columns if table_of(name) is None]:
        known = "; ".join(f"{table}: {', '.join(names)}" for table, names in TABLES.items())
        raise ValueError(f"no column {', '.join(map(repr, strange))}; known are {known}")
    tables = sorted({str(table_of(name)) for name in columns} | ({given.table} if given.table else set()))
    if len(tables) != 1:
        rule = f"one table: {', '.join(TABLES)}"
        raise ValueError(f"{given.expect} must be about {rule}; it names {', '.join(tables) or 'none, so set table'}")
    return tables[0]

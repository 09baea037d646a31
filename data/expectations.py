"""The Great Expectations suite over the manifest: each rule names the reason under which it refuses or reports rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from data.records import SPLITS
from model.config import Config

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.expectations import Expectation
    from pandas import DataFrame

Severity = Literal["critical", "warning"]
REQUIRED = ("id", "task", "source", "license", "group", "split")


class Ranges(Config):
    """Bounds, inclusive, of what a record may hold; ``warning`` rules, since a long text is cut and not wrong."""

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


@dataclass(frozen=True)
class Rule:
    """One expectation.

    Attributes:
        reason: why a row is refused (critical) or reported (warning).
        severity: what happens to unexpected rows.
        kind: class name in ``great_expectations.expectations``.
        arguments: its arguments.
        reason_column: manifest column that holds a more exact reason than ``reason``.
    """

    reason: str
    severity: Severity
    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)
    reason_column: str | None = None

    def build(self) -> "Expectation":
        """Make the expectation; ``meta`` carries the reason into the result."""
        import great_expectations.expectations as known

        make: type[Expectation] = getattr(known, self.kind)
        return make(**self.arguments, severity=self.severity, meta={"reason": self.reason})


def rules(ranges: Ranges) -> list[Rule]:
    """All rules, in the order of the report."""
    return [
        *(Rule(f"{name}_missing", "critical", "ExpectColumnValuesToNotBeNull", {"column": name}) for name in REQUIRED),
        Rule("duplicate_id", "critical", "ExpectColumnValuesToBeUnique", {"column": "id"}),
        _among("unknown_task", "task", ranges.tasks),
        _among("unknown_split", "split", SPLITS),
        _true("source_is_not_shard", "source_ok"),
        _among("license_not_allowed", "license_state", ["allowed", "malformed"]),
        _among("license_malformed", "license_state", ["allowed", "refused"]),
        _true("language_tag_invalid", "languages_ok"),
        _among("language_script_mismatch", "script", ["ok", "latin_only"]),
        _among("latin_in_other_script", "script", ["ok", "script_mismatch"], "warning"),
        Rule(
            "split_is_not_group_hash",
            "critical",
            "ExpectColumnPairValuesToBeEqual",
            {"column_A": "split", "column_B": "expected_split", "ignore_row_if": "either_value_is_missing"},
        ),
        _false("group_in_two_splits", "group_leaks"),
        _true("evaluation_only_source", "evaluation_only_ok"),
        _true("query_missing", "has_query"),
        _true("positive_missing", "has_positives"),
        _false("malformed_part", "malformed_part"),
        _false("text_empty", "text_empty"),
        _among("media_unusable", "media_state", ["ok"], reason_column="media_state"),
        _among("media_blank", "media_blank", [False], "warning"),
        _between("text_length", "text_chars", ranges.text_chars),
        _between("image_pixels", "image_pixels", ranges.image_pixels),
        _between("audio_seconds", "audio_seconds", ranges.audio_seconds),
        _between("media_bytes", "media_bytes", ranges.media_bytes),
    ]


def _among(
    reason: str, column: str, values: Sequence[Any], severity: Severity = "critical", reason_column: str | None = None
) -> Rule:
    arguments = {"column": column, "value_set": list(values)}
    return Rule(reason, severity, "ExpectColumnValuesToBeInSet", arguments, reason_column)


def _true(reason: str, column: str) -> Rule:
    return _among(reason, column, [True])


def _false(reason: str, column: str) -> Rule:
    return _among(reason, column, [False])


def _between(reason: str, column: str, bounds: tuple[float, float]) -> Rule:
    low, high = bounds
    arguments = {"column": column, "min_value": low, "max_value": high}
    return Rule(f"{reason}_out_of_range", "warning", "ExpectColumnValuesToBeBetween", arguments)


@dataclass(frozen=True)
class Findings:
    """Reasons by manifest index, and Great Expectations' own result."""

    refused: dict[int, list[str]]
    reported: dict[int, list[str]]
    result: "ExpectationSuiteValidationResult"


def validate(manifest: "DataFrame", ranges: Ranges) -> Findings:
    """Run the suite over the manifest."""
    suite = rules(ranges)
    result = _run(manifest, suite)
    by_reason = {rule.reason: rule for rule in suite}
    refused: dict[int, list[str]] = {}
    reported: dict[int, list[str]] = {}
    for outcome in result.results:
        rule = by_reason[outcome.expectation_config.meta["reason"]]
        if outcome.exception_info.get("raised_exception"):
            raise RuntimeError(f"expectation {rule.reason} failed to run: {outcome.exception_info}")
        target = refused if rule.severity == "critical" else reported
        rows = outcome.result.get("unexpected_index_list") or []
        exact = manifest[rule.reason_column] if rule.reason_column else None
        for row in rows:
            target.setdefault(int(row), []).append(rule.reason if exact is None else str(exact[row]))
    return Findings(refused, reported, result)


def _run(manifest: "DataFrame", suite: Sequence[Rule]) -> "ExpectationSuiteValidationResult":
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    settings = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=settings)
    batch = context.data_sources.add_pandas("corpus").add_dataframe_asset("manifest")
    definition = gx.ValidationDefinition(
        name="manifest",
        data=batch.add_batch_definition_whole_dataframe("all"),
        suite=context.suites.add(gx.ExpectationSuite(name="manifest", expectations=[rule.build() for rule in suite])),
    )
    # Only what the rules look at: every column costs time.
    columns = sorted(
        {v for rule in suite for k, v in rule.arguments.items() if k in ("column", "column_A", "column_B")}
    )
    return context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": manifest[columns]}, result_format={"result_format": "COMPLETE"}
    )


def data_docs(result: "ExpectationSuiteValidationResult") -> str:
    """Great Expectations' validation page without its scripts and style sheets, which it would load from the net."""
    import re

    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    page: str = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(result))
    page = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    return re.sub(r"<link\b[^>]*>", "", page)

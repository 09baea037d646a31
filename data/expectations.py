"""The Great Expectations suites over the tables of the manifest, run and read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data.columns import TABLES
from data.known_expectations import EXPECTATIONS
from data.rules import Rule
from model.errors import ConfigError

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
    from great_expectations.expectations import Expectation
    from pandas import DataFrame

    from data.manifest import Manifest

SHOWN = 20
ROW_LISTS = ("unexpected_list", "unexpected_index_list", "partial_unexpected_index_list", "partial_unexpected_list")


@dataclass(frozen=True)
class Outcome:
    """How one rule fared.

    Attributes:
        rule: the rule.
        checked: rows of its table that it judged.
        unexpected: those that break it; ``None`` for a rule about a whole table.
        success: whether it is kept as often as it must be.
        observed: what a rule about a whole table found.
    """

    rule: Rule
    checked: int
    unexpected: int | None
    success: bool
    observed: Any = None

    def sentence(self) -> str:
        """What is wrong in words."""
        if self.unexpected is None:
            return f"{self.rule.reason}: {self.rule.kind} {self.rule.arguments} does not hold, found {self.observed}"
        kept = 1 - self.unexpected / max(1, self.checked)
        return (
            f"{self.rule.reason}: {kept:.2%} of {self.checked} {self.rule.table} keep it, {self.rule.mostly:.2%} must"
        )


@dataclass(frozen=True)
class Findings:
    """Reasons by record, how each rule fared, and Great Expectations' own results by table."""

    refused: dict[int, list[str]]
    reported: dict[int, list[str]]
    outcomes: list[Outcome]
    results: dict[str, "ExpectationSuiteValidationResult"]

    @property
    def stops(self) -> list[str]:
        """Rules that stop the run: about a whole table, or kept by too few rows."""
        return [
            outcome.sentence()
            for outcome in self.outcomes
            if outcome.rule.severity == "fail"
            and not outcome.success
            and (outcome.unexpected is None or outcome.rule.mostly is not None)
        ]


def build_suites(suite: Sequence[Rule]) -> dict[str, list["Expectation"]]:
    """Make the expectations of each table; cheap, so done before any work.

    Raises:
        ConfigError: an argument does not suit its expectation.
    """
    built: dict[str, list[Expectation]] = {}
    problems = []
    for rule in suite:
        try:
            built.setdefault(rule.table, []).append(rule.build())
        except (ValueError, TypeError) as error:
            problems.append(f"  {rule.reason} ({rule.kind} {rule.arguments}): {error}")
    if problems:
        raise ConfigError("\n".join(["expectations that cannot be made; correct their arguments:", *problems]))
    return built


def validate(manifest: "Manifest", suite: Sequence[Rule]) -> Findings:
    """Run the rules over the tables."""
    findings = Findings({}, {}, [], {})
    for table, expectations in build_suites(suite).items():
        own = {rule.reason: rule for rule in suite if rule.table == table}
        result = _run(table, manifest.table(table), expectations, own.values())
        for found in result.results:
            _read(found, own[found.expectation_config.meta["reason"]], manifest, findings)
        findings.results[table] = result
    order = {rule.reason: at for at, rule in enumerate(suite)}
    findings.outcomes.sort(key=lambda outcome: order[outcome.rule.reason])
    return findings


def _read(found: "ExpectationValidationResult", rule: Rule, manifest: "Manifest", findings: Findings) -> None:
    """Take the rows out of one result, and cut its lists, which would swell the page."""
    problem = _problem(found.exception_info)
    if problem is not None:
        if rule.own:
            raise ConfigError(
                f"expectation {rule.reason} ({rule.kind} {rule.arguments}) cannot be computed on its column: "
                f"{problem}; correct it or leave it out"
            )
        raise RuntimeError(f"expectation {rule.reason} failed to run: {problem}")
    details = found.result
    judges_rows = EXPECTATIONS[rule.kind].rows
    count = int(details.get("unexpected_count") or 0) if judges_rows else None
    rows = int(details.get("element_count") or 0)
    findings.outcomes.append(Outcome(rule, rows, count, bool(found.success), details.get("observed_value")))
    if judges_rows:
        target = findings.refused if rule.severity == "fail" else findings.reported
        exact = manifest.table(rule.table)[rule.reason_column] if rule.reason_column else None
        for row in manifest.affected(rule.table, details.get("unexpected_index_list") or []):
            reason = rule.reason if exact is None else str(exact.iloc[row])
            target.setdefault(int(row), []).append(reason)
    for name in ROW_LISTS:
        if name in details:
            details[name] = details[name][:SHOWN]
    details.pop("unexpected_index_query", None)


def _problem(info: Mapping[str, Any]) -> str | None:
    """What went wrong in computing, told either for the expectation or for each metric that it needs."""
    told = [info] if "raised_exception" in info else [value for value in info.values() if isinstance(value, dict)]
    return next((str(each.get("exception_message")) for each in told if each.get("raised_exception")), None)


def _run(
    table: str, frame: "DataFrame", expectations: Sequence["Expectation"], suite: Any
) -> "ExpectationSuiteValidationResult":
    import great_expectations as gx

    # Only what the rules look at: every column costs time.
    wanted = {column for rule in suite for column in rule.columns}
    columns = [name for name in TABLES[table] if name in wanted] or [next(iter(TABLES[table]))]
    batch = (
        _context()
        .data_sources.add_pandas(table)
        .add_dataframe_asset(table)
        .add_batch_definition_whole_dataframe("all")
        .get_batch(batch_parameters={"dataframe": frame[columns]})
    )
    # Not a ValidationDefinition: its store copies every list of rows several times, minutes for a million of them.
    made = gx.ExpectationSuite(name=table, expectations=list(expectations))
    return batch.validate(made, result_format={"result_format": "COMPLETE"})


def _context() -> Any:
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
    return gx.get_context(mode="ephemeral", project_config=settings)


def data_docs(result: "ExpectationSuiteValidationResult") -> str:
    """Great Expectations' validation page without its scripts and style sheets, which it would load from the net."""
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    page: str = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(result))
    page = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    return re.sub(r"<link\b[^>]*>", "", page)

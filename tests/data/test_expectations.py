"""Rules and a user's own expectations: settings change what happens to rows, mistakes are named before any work."""

import numpy as np
import pandas as pd
import pytest

from components.validate.config import ValidateConfig
from data.columns import TABLES
from data.expectations import build_suites, validate
from data.known_expectations import EXPECTATIONS
from data.manifest import MEDIA_COLUMNS, TEXT_COLUMNS, Manifest, Uses
from data.rules import OwnExpectation, Ranges, RuleSetting, rule_names, rules
from model.errors import ConfigError


def manifest() -> Manifest:
    """Four records that are right; record 0 and 1 use medium 0, record 2 medium 1; each has a text of its own."""
    rows = 4
    truths = {"languages_ok": True, "has_query": True, "has_positives": True, "evaluation_only_ok": True}
    records = pd.DataFrame(
        {
            "id": [f"s/{n}" for n in range(rows)],
            "task": pd.Categorical(["bitext"] * rows),
            **{name: pd.Categorical(["x"] * rows) for name in ("source", "languages", "license", "group", "shard")},
            **{name: pd.Categorical(["train"] * rows) for name in ("split", "expected_split")},
            **{name: [value] * rows for name, value in {**truths, "source_ok": True}.items()},
            **{name: [False] * rows for name in ("malformed_part", "text_empty", "group_leaks")},
            **{name: pd.Categorical(["ok"] * rows) for name in ("media_state", "script", "language_guess")},
            "license_state": pd.Categorical(["allowed"] * rows),
            "positives": [1, 1, 1, 9],
            "negatives": [0] * rows,
        }
    )
    media = pd.DataFrame({name: [None, None] for name in MEDIA_COLUMNS}).assign(
        media_bytes=[500, 600], media_blank=[False, False], image_width=[16.0, 64.0], image_pixels=[1024.0, 4096.0]
    )
    media = media.astype({name: "float64" for name in MEDIA_COLUMNS if name.startswith(("audio", "video", "document"))})
    texts = pd.DataFrame({name: [0] * rows for name in TEXT_COLUMNS}).assign(
        text_chars=[5, 10, 20, 40], text_mojibake=[False] * rows
    )
    pairs = np.array([[0, 0], [1, 0], [2, 1]], dtype=np.int32)
    each = np.arange(rows, dtype=np.int32)
    return Manifest(records, media, texts, Uses(pairs[:, 0], pairs[:, 1]), Uses(each, each))


def own(**given: object) -> OwnExpectation:
    return OwnExpectation.parse(dict(given))


def test_good_rows_break_no_rule() -> None:
    found = validate(manifest(), rules(Ranges()))
    assert (found.refused, found.reported, found.stops) == ({}, {}, [])
    assert [outcome.rule.reason for outcome in found.outcomes] == rule_names()


def test_the_list_of_expectations_is_that_of_the_library() -> None:
    import great_expectations.expectations as library

    common = {"column_A", "column_B", "column_list", "column"}
    for name, known in EXPECTATIONS.items():
        fields = getattr(library, name).__fields__
        assert set(known.arguments) <= set(fields), name
        # What the library requires is required here too; what is required here may have a default there.
        assert {field for field, about in fields.items() if about.required} <= set(known.required), name
        assert known.rows == ("mostly" in fields), name
        assert known.rows or not common & set(known.arguments) or "column" in known.required


def test_an_expectation_on_a_medium_refuses_every_record_that_uses_it() -> None:
    rule = own(expect="ExpectColumnValuesToBeBetween", column="image_width", min_value=32, reason="too_narrow")
    found = validate(manifest(), rules(Ranges(), own=[rule]))
    assert found.refused == {0: ["too_narrow"], 1: ["too_narrow"]}


def test_severities() -> None:
    given = {"expect": "ExpectColumnValuesToBeBetween", "column": "text_chars", "max_value": 30}
    reason = own(**given).name
    assert reason == "expected_column_values_to_be_between_text_chars"
    assert validate(manifest(), rules(Ranges(), own=[own(**given, severity="warn")])).reported == {3: [reason]}
    assert validate(manifest(), rules(Ranges(), own=[own(**given, severity="fail")])).refused == {3: [reason]}
    off = rules(Ranges(), {name: RuleSetting(severity="off") for name in rule_names()}, [own(**given, severity="off")])
    assert off == []


def test_off_may_be_written_without_quotes() -> None:
    import yaml

    assert RuleSetting.parse(yaml.safe_load("severity: off")).severity == "off"


def test_our_rules_change_their_severity() -> None:
    ranges = Ranges(text_chars=(6, 8_000))
    assert validate(manifest(), rules(ranges)).reported == {0: ["text_length_out_of_range"]}
    strict = rules(ranges, {"text_length_out_of_range": RuleSetting(severity="fail")})
    found = validate(manifest(), strict)
    assert found.refused == {0: ["text_length_out_of_range"]}
    assert found.stops == []


def test_mostly_stops_the_run_only_when_too_few_rows_keep_a_failing_rule() -> None:
    def stops(mostly: float, severity: str) -> list[str]:
        setting = RuleSetting.parse({"severity": severity, "mostly": mostly})
        return validate(manifest(), rules(Ranges(text_chars=(6, 99)), {"text_length_out_of_range": setting})).stops

    assert stops(0.7, "fail") == []
    assert stops(0.8, "warn") == []
    assert stops(0.8, "fail") == ["text_length_out_of_range: 75.00% of 4 texts keep it, 80.00% must"]


def test_expectations_about_a_whole_table_stop_or_are_shown() -> None:
    mean = {"expect": "ExpectColumnMeanToBeBetween", "column": "positives", "max_value": 2, "reason": "many"}
    found = validate(manifest(), rules(Ranges(), own=[own(**mean)]))
    assert found.refused == {}
    assert found.stops[0].startswith("many: ExpectColumnMeanToBeBetween")
    assert "found 3" in found.stops[0]
    assert validate(manifest(), rules(Ranges(), own=[own(**mean, severity="warn")])).stops == []
    rows = own(expect="ExpectTableRowCountToBeBetween", table="media", min_value=3)
    assert len(validate(manifest(), rules(Ranges(), own=[rows])).stops) == 1


def test_pairs_and_patterns_can_be_expected() -> None:
    more = own(expect="ExpectColumnPairValuesAToBeGreaterThanB", column_A="text_chars", column_B="text_letters")
    named = own(expect="ExpectColumnValuesToMatchRegex", column="id", regex="^s/[012]$", reason="odd_id")
    assert validate(manifest(), rules(Ranges(), own=[more, named])).refused == {3: ["odd_id"]}


MISTAKES = {
    "no expectation 'ExpectMiracles'; known are": {"expect": "ExpectMiracles", "column": "id"},
    "no column 'image_widht'; known are records: id, task": {
        "expect": "ExpectColumnValuesToBeBetween",
        "column": "image_widht",
    },
    "has no argument minimum; it takes column, min_value": {
        "expect": "ExpectColumnValuesToBeBetween",
        "column": "image_width",
        "minimum": 3,
    },
    "lacks value_set": {"expect": "ExpectColumnValuesToBeInSet", "column": "task"},
    "'(' is no regular expression": {"expect": "ExpectColumnValuesToMatchRegex", "column": "id", "regex": "("},
    "must be about one table": {
        "expect": "ExpectColumnPairValuesToBeEqual",
        "column_A": "image_width",
        "column_B": "text_chars",
    },
    "none, so set table": {"expect": "ExpectTableRowCountToEqual", "value": 3},
    "mostly, a share of rows, means nothing": {
        "expect": "ExpectColumnMaxToBeBetween",
        "column": "text_chars",
        "mostly": 0.5,
    },
    "Input should be 'fail', 'warn' or 'off'": {
        "expect": "ExpectColumnValuesToBeUnique",
        "column": "id",
        "severity": "deadly",
    },
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_named_when_the_recipe_is_read(message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ValidateConfig.parse({"expectations": [MISTAKES[message]]})
    assert message in str(caught.value)
    assert "expectations.0" in str(caught.value)


def test_mistakes_about_rules_are_named() -> None:
    with pytest.raises(ConfigError, match=r"no rule text_lenght; known are id_missing"):
        ValidateConfig.parse({"rules": {"text_lenght": {"severity": "fail"}}})
    unique = {"expect": "ExpectColumnValuesToBeUnique", "column": "id"}
    with pytest.raises(ConfigError, match="duplicate_id is taken as a reason"):
        ValidateConfig.parse({"expectations": [{**unique, "reason": "duplicate_id"}]})
    with pytest.raises(ConfigError, match="is taken as a reason"):
        ValidateConfig.parse({"expectations": [unique, unique]})


def test_values_that_do_not_suit_are_named_before_work() -> None:
    bad = [own(expect="ExpectColumnValuesToBeInSet", column="task", value_set=5)]
    with pytest.raises(ConfigError, match=r"correct their arguments:\n  expected_column_values_to_be_in_set_task"):
        build_suites(rules(Ranges(), own=bad))


def test_what_cannot_be_computed_is_the_users_to_correct() -> None:
    bad = own(expect="ExpectColumnMeanToBeBetween", column="task", max_value=3)
    with pytest.raises(ConfigError, match="cannot be computed on its column"):
        validate(manifest(), rules(Ranges(), own=[bad]))


def test_configuration_survives_its_json_form() -> None:
    given = {"expect": "ExpectColumnValuesToBeBetween", "column": "image_width", "min_value": 32}
    config = ValidateConfig.parse({"expectations": [given], "rules": {"text_mojibake": {"severity": "off"}}})
    assert ValidateConfig.parse(config.model_dump_json()) == config
    assert config.expectations[0].arguments == {"column": "image_width", "min_value": 32}


def test_columns_are_documented_and_belong_to_one_table() -> None:
    assert set(TABLES["media"]) == set(MEDIA_COLUMNS)
    assert set(TABLES["texts"]) == set(TEXT_COLUMNS)
    names = [name for columns in TABLES.values() for name in columns]
    assert len(names) == len(set(names))
    known = manifest()
    for table, columns in TABLES.items():
        assert set(columns) == set(known.table(table).columns)

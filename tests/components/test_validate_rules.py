"""The validate step with rules of the recipe: they refuse, report or stop, and stand in the report and Data Docs."""

import html
import json
from pathlib import Path

import pytest

from components.validate.config import ValidateConfig
from components.validate.run import run
from data.probe_store import read_probes
from model.errors import ConfigError, DataError
from tests.data.faults import CLIP, DOCUMENT, PICTURES, SOUND, SOURCE, good_rows, write

LIMIT = {
    "expect": "ExpectColumnValuesToBeBetween",
    "column": "text_chars",
    "max_value": 60,
    "reason": "too_long_for_us",
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    media = [*PICTURES, SOUND, CLIP, DOCUMENT]
    write(tmp_path / "corpus" / f"{SOURCE}-00000.parquet", good_rows()[:60], media)
    write(tmp_path / "corpus" / f"{SOURCE}-00001.parquet", good_rows()[60:], PICTURES)
    return tmp_path / "corpus"


def config(**given: object) -> ValidateConfig:
    ranges = {"tasks": ["text_to_image", "speech_to_text", "text_to_video", "reading"]}
    return ValidateConfig.parse({"ranges": ranges, **given})


def validate(corpus: Path, config: ValidateConfig) -> tuple[dict[str, float], dict[str | None, list[str]], str]:
    """Scalars, reasons by id, and the report."""
    root = corpus.parent
    places = {"dataset": root / "dataset", "quarantine": root / "quarantine", "report": root / "report.html"}
    scalars = run(config, corpus=corpus, **places)
    lines = [json.loads(line) for line in (root / "quarantine" / "reasons.jsonl").read_text().splitlines()]
    return scalars, {line["id"]: line["reasons"] for line in lines}, (root / "report.html").read_text()


def test_an_own_expectation_refuses_and_is_shown(corpus: Path) -> None:
    mean = {"expect": "ExpectColumnMeanToBeBetween", "column": "image_width", "min_value": 9, "severity": "warn"}
    scalars, reasons, page = validate(corpus, config(expectations=[LIMIT, mean]))
    assert reasons == {f"{SOURCE}/5": ["too_long_for_us"]}  # the German sentence
    assert scalars["quarantined"] == 1
    assert "too_long_for_us" in page
    assert "column=text_chars, max_value=60" in page
    docs = [html.unescape(piece) for piece in page.split('srcdoc="')[1:]]
    assert len(docs) == 3, "Data Docs of records, media and texts"
    assert any("text_chars" in piece and "60" in piece for piece in docs)
    assert "<script" not in "".join(docs)


def test_plots_of_the_probes_come_before_tables_of_them(corpus: Path) -> None:
    page = validate(corpus, config())[2]
    assert page.count("<svg") == 2
    assert page.index("How the parts measure") < page.index("<h2>Quarantine")


def test_what_a_rule_allows_and_a_share_that_is_too_small(corpus: Path) -> None:
    assert validate(corpus, config(expectations=[{**LIMIT, "mostly": 0.9}]))[0]["quarantined"] == 1
    with pytest.raises(DataError, match=r"too_long_for_us: 98\.\d\d% of \d+ texts keep it, 99\.90% must"):
        validate(corpus, config(expectations=[{**LIMIT, "mostly": 0.999}]))
    assert validate(corpus, config(expectations=[{**LIMIT, "mostly": 0.999, "severity": "warn"}]))[1] == {}
    assert validate(corpus, config(expectations=[{**LIMIT, "severity": "off"}]))[1] == {}


def test_a_whole_table_can_stop_the_run(corpus: Path) -> None:
    few = {"expect": "ExpectTableRowCountToBeBetween", "table": "records", "min_value": 1_000, "reason": "too_few"}
    with pytest.raises(DataError, match="too_few: ExpectTableRowCountToBeBetween"):
        validate(corpus, config(expectations=[few]))


def test_mistakes_stop_before_anything_is_decoded(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.validate.run.probe_shards", lambda *_: pytest.fail("work has started"))
    bad = {"expect": "ExpectColumnValuesToBeInSet", "column": "task", "value_set": 5}
    with pytest.raises(ConfigError, match="correct their arguments"):
        validate(corpus, config(expectations=[bad]))


def test_stored_probes_save_the_decoding_and_change_nothing(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = validate(corpus, config())
    (corpus.parent / "dataset" / "probes").rename(corpus / "probes")
    monkeypatch.setattr("data.probing.probe_media", lambda *_: pytest.fail("decoded again"))
    second = validate(corpus, config())
    assert first[0] == second[0]
    assert first[1] == second[1]
    assert len(list(read_probes(corpus.parent / "dataset"))) == 2

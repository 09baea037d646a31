"""Language tags and the scripts behind them."""

import pytest

from data.languages import is_language_tag, script_problem, scripts_of_language
from model.script import script_of


@pytest.mark.parametrize("tag", ["en", "pt-BR", "zh-Hant", "sr-Latn-RS", "und", "fil", "es-419"])
def test_valid_tags(tag: str) -> None:
    assert is_language_tag(tag)


@pytest.mark.parametrize("tag", ["", "EN", "english", "xx", "en-us", "en_US", "zh-hant", "e", "en-"])
def test_invalid_tags(tag: str) -> None:
    assert not is_language_tag(tag)


@pytest.mark.parametrize(
    ("text", "tags", "problem"),
    [
        ("犬がいる", ["ja"], None),
        ("This sentence is plainly English", ["ja"], "script_mismatch"),
        ("собака", ["ja"], "script_mismatch"),
        ("собака", ["en"], "script_mismatch"),
        ("собака", ["en", "ru"], None),
        ("Wi-Fi", ["ja"], "latin_only"),
        ("12:30", ["ar"], None),
        ("Ω", ["en"], None),
        ("sobaka", ["ru-Latn"], None),
        ("anything", ["und"], None),
        ("ανάγνωση read", ["el"], None),
    ],
)
def test_script_of_text_against_tags(text: str, tags: list[str], problem: str | None) -> None:
    assert script_problem(text, tags) == problem


def test_languages_without_an_entry_are_latin() -> None:
    assert scripts_of_language("sv") == {"Latn"}
    assert scripts_of_language("zxx") == frozenset()


@pytest.mark.parametrize(
    ("text", "script"),
    [("hello", "Latn"), ("いぬと犬", "Jpan"), ("犬", "Hani"), ("1 + 1 😀", "Zyyy"), ("привет ok", "Cyrl")],
)
def test_dominant_script(text: str, script: str) -> None:
    assert script_of(text) == script

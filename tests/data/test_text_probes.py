"""Text probes: guesses only where they can be right, traces of broken encodings, and never an exception."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.text_probes import contradicts, probe_text, text_digest
from model.script import script_of

SENTENCES = {
    "en": "The quick brown fox jumps over the lazy dog and then runs home through the great forest.",
    "de": "Der schnelle braune Fuchs springt über den faulen Hund und läuft danach durch den Wald nach Hause.",
    "fr": "Le rapide renard brun saute par-dessus le chien paresseux et rentre chez lui par la forêt.",
    "ru": "Быстрая коричневая лиса перепрыгивает через ленивую собаку и бежит домой через большой лес.",
    "ja": "素早い茶色の狐は怠け者の犬を飛び越えて、それから大きな森を通って家まで走って帰りました。楽しかったです。",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_languages_of_sentences_are_guessed(language: str) -> None:
    found = probe_text(SENTENCES[language])
    assert found.language == language
    assert found.confidence is not None
    assert found.confidence > 0.9


@pytest.mark.parametrize(
    "text",
    ["a cat", "", "12 34 56 " * 20, "x = f(y[3]) + {'k': (z, 7)}; " * 4, "https://example.org/?a=1&b=2#c" * 3],
)
def test_short_texts_and_what_is_no_prose_are_not_judged(text: str) -> None:
    assert probe_text(text).language is None


def test_traces_of_broken_encodings() -> None:
    word = "Müller fährt über die Brücke"
    assert probe_text(word.encode().decode("latin-1")).mojibake
    assert probe_text(word.encode().decode("cp1252")).mojibake
    assert probe_text("日本語の文字".encode().decode("cp1252", "replace")).mojibake
    assert not probe_text(word).mojibake
    assert not probe_text("São Paulo é maior do que ÀÉÎÕÜ").mojibake
    assert probe_text("caf\ufffd au\ufffd").replaced == 2
    assert probe_text("a\x00b\x1bc\td\n").controls == 2


@settings(deadline=None)
@given(st.text())
def test_any_text_is_measured(text: str) -> None:
    found = probe_text(text)
    assert found.characters == len(text)
    assert 0 <= found.letters <= len(text)
    assert found.digest == text_digest(text)


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=127)))
def test_the_short_way_for_ascii_agrees(text: str) -> None:
    assert probe_text(text).script == script_of(text, limit=len(text) or 1)


@settings(deadline=None)
@given(st.text(), st.text())
def test_digests_tell_texts_apart(a: str, b: str) -> None:
    assert (text_digest(a) == text_digest(b)) == (a == b)


@pytest.mark.parametrize(
    ("guess", "tags", "expected"),
    [
        ("en", ["ja"], True),
        ("de", ["en", "fr"], True),
        ("en", ["en-GB"], False),
        ("da", ["nb"], False),
        ("es", ["gl"], False),
        ("en", ["tlh"], False),
        ("en", ["ja", "tlh"], False),
        ("en", [], False),
        ("zh", ["zh-Hant"], False),
    ],
)
def test_what_a_guess_rules_out(guess: str, tags: list[str], expected: bool) -> None:
    assert contradicts(guess, tags) is expected

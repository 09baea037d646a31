"""Synthetic records are labelled, stay in the split of their original, and every original is accounted for."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.corpus import Corpus
from data.languages import is_language_tag, script_problem
from data.records import PartRef, Record
from data.shards import write_shard
from data.splits import split_of
from data.synthetic import speech, templates, translations
from data.synthetic.config import SynthesizeConfig
from data.synthetic.run import Counts, synthesize
from model.content import Modality, media_digest
from model.encoder import Limits
from model.errors import ConfigError, DataError
from model.media.audio import decode_audio
from tests.data.sheet_corpus import png, record, text, write_corpus

LABELS = {
    "en": ("A hat.", "grinning face", "a very " + "long " * 20 + "label"),
    "de": ("Hut", "Gesicht"),
    "sw": ("kofia",),
}
needs_program = pytest.mark.skipif(speech.shutil.which(speech.PROGRAM) is None, reason="espeak-ng is not installed")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    rows: list[Record] = []
    media: dict[str, tuple[Modality, bytes]] = {}
    for language, labels in LABELS.items():
        for label in labels:
            data = png(len(rows) * 20)
            media[media_digest(data)] = (Modality.IMAGE, data)
            part = (PartRef(Modality.IMAGE, media=media_digest(data)),)
            rows.append(record("things", f"{len(rows)}", text(label), part, language=language, group=f"g{len(rows)}"))
    write_shard(folder / "things.parquet", rows, media)
    return folder


def document(tmp_path: Path, *helpers: str, **more: object) -> SynthesizeConfig:
    lines = [f"corpus: {tmp_path / 'corpus'}", "splits: [train, validation, test]"]
    lines += [f"{name}: {json.dumps(value)}" for name, value in more.items()]
    path = tmp_path / "document.yaml"
    path.write_text("\n".join([*lines, "helpers:", *(f"- {{{helper}}}" for helper in helpers)]), encoding="utf-8")
    return SynthesizeConfig.read(path)


def run(tmp_path: Path, config: SynthesizeConfig, to: str = "out") -> tuple[list[Counts], list[Record]]:
    counts = synthesize(config, tmp_path / "corpus", tmp_path / to)
    return counts, Corpus(tmp_path / to).records


def check_labels(made: list[Record], corpus: Path) -> None:
    originals = {r.id: r for r in Corpus(corpus).records}
    assert len({r.id for r in made}) == len(made)
    for r in made:
        original = originals["/".join(r.id.split("/")[1:3])]
        assert r.source == f"{original.source}-synthetic"
        assert r.id.startswith(f"{r.source}/")
        assert (r.group, r.split) == (original.group, original.split) == (original.group, split_of(r.group))
        assert r.license.startswith(original.license)


def test_captions_by_templates(tmp_path: Path, corpus: Path) -> None:
    (count,), made = run(tmp_path, document(tmp_path, "kind: templates, per_record: 2"))
    check_labels(made, corpus)
    assert (count.given, count.with_records, count.records) == (6, 4, 8)
    assert count.skipped == {"label_too_long": 1, "no_template_for_language": 1}
    texts = {r.query[0].text for r in made if r.languages == ("de",)}
    assert all("Hut" in str(words) or "Gesicht" in str(words) for words in texts)
    assert not any("." in str(r.query[0].text) for r in made)
    resolved = Corpus(tmp_path / "out")
    assert all(resolved.resolve(r).positives[0].parts[0].data for r in made), "pictures are in the new shard"


def test_the_same_document_gives_the_same_bytes(tmp_path: Path, corpus: Path) -> None:
    config = document(tmp_path, "kind: templates, per_record: 2")
    run(tmp_path, config, "one")
    run(tmp_path, config, "two")
    name = "things-synthetic.parquet"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@given(st.sampled_from(sorted(templates.BUILT_IN)), st.text(min_size=1, max_size=30))
def test_templates_keep_the_label_as_it_is(language: str, label: str) -> None:
    for template in templates.BUILT_IN[language]:
        assert label.rstrip(" .!。") in templates.caption(template, label)


def test_built_in_templates_are_in_their_language() -> None:
    for language, texts in templates.BUILT_IN.items():
        assert is_language_tag(language)
        assert len(texts) >= 2
        for template in texts:
            assert template.count("{label}") == 1
            assert script_problem(template.replace("{label}", ""), [language]) in (None, "latin_only")


def table(tmp_path: Path, content: str, name: str = "names.csv") -> Path:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8-sig")
    return path


def test_names_from_a_table(tmp_path: Path, corpus: Path) -> None:
    table(tmp_path, "en,de,fr\na hat,Hut,chapeau\nGrinning  Face,,visage\nzebra,Zebra,zèbre\n")
    helper = "kind: translations, table: names.csv, license: CC0-1.0, makes: [query, bitext]"
    (count,), made = run(tmp_path, document(tmp_path, helper))
    check_labels(made, corpus)
    assert (count.with_records, count.records) == (2, 6)
    assert count.skipped == {"not_in_the_table": 1, "label_in_another_language": 3}
    bitext = {(r.query[0].text, r.positives[0][0].text, r.languages) for r in made if r.task == "bitext"}
    assert bitext == {("A hat.", "Hut", ("en", "de")), ("A hat.", "chapeau", ("en", "fr")),
                      ("grinning face", "visage", ("en", "fr"))}  # fmt: skip
    assert {r.license for r in made} == {"MIT AND CC0-1.0"}


def test_names_that_are_doubtful_are_not_taken(tmp_path: Path, corpus: Path) -> None:
    table(tmp_path, "en,de,fr\na hat,Hut,chapeau\nA HAT,Mütze,chapeau\ngrinning face," + "x" * 300 + ",\n")
    (count,), made = run(tmp_path, document(tmp_path, "kind: translations, table: names.csv, license: CC0-1.0"))
    assert [(r.query[0].text, r.languages) for r in made] == [("chapeau", ("fr",))]
    assert count.skipped["doubtful_in_the_table"] == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [("n.csv", "en,de\nhat,Hut\n"), ("n.tsv", "en\tde\nhat\tHut\n"), ("n.jsonl", '{"en":"hat","de":"Hut"}\n')],
)
def test_forms_of_tables(tmp_path: Path, name: str, content: str) -> None:
    assert translations.read_table(table(tmp_path, content, name), "en") == {"hat": {"de": "Hut"}}


def test_a_table_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no machine translation"):
        translations.read_table(tmp_path / "none.csv", "en")
    with pytest.raises(DataError, match="no column 'fr'; there are en, de"):
        translations.read_table(table(tmp_path, "en,de\nhat,Hut\n"), "en", ("fr",))
    with pytest.raises(DataError, match="cannot be read"):
        translations.read_table(table(tmp_path, "{broken\n", "n.jsonl"), "en")


@needs_program
def test_speech(tmp_path: Path, corpus: Path) -> None:
    helper = "kind: speech, voices: {en: en-us, de: de}, makes: [speech_to_text, speech_to_image]"
    (count,), made = run(tmp_path, document(tmp_path, helper))
    check_labels(made, corpus)
    assert (count.with_records, count.records) == (5, 10)
    assert count.skipped == {"no_voice_for_language": 1}
    resolved = Corpus(tmp_path / "out")
    for r in made:
        example = resolved.resolve(r)
        wave_N = decode_audio(example.query.parts[0].data or b"", Limits())
        assert 0.2 < len(wave_N) / 16_000 < 20
        assert abs(wave_N).max() > 0.05
        expected = Modality.TEXT if r.task == "speech_to_text" else Modality.IMAGE
        assert example.positives[0].parts[0].modality is expected
    longer = [r for r in made if "very" in str(r.positives[0][0].text)]
    assert longer


@needs_program
def test_the_program_obeys_nothing_in_a_text() -> None:
    program = speech.find_program()
    for words in ("[[h@'loU]] world", "<speak>hello</speak>", "$(touch /tmp/x); hello", "-f /etc/passwd", "--help"):
        assert len(speech.say(program, words, "en-us", 160, 20)) > 2_000
    assert "[[" not in speech.plain("[[[[a]]]]")
    assert speech.say(program, "hello", "de", 160, 20) == speech.say(program, "hello", "de", 160, 20)


@needs_program
def test_what_cannot_be_spoken_is_quarantined(tmp_path: Path, corpus: Path) -> None:
    rows = [record("mute", f"m{i}", text(words), text("x"), group=f"m{i}") for i, words in enumerate(("…", "hello"))]
    write_shard(corpus / "mute.parquet", rows, {})
    (count,), made = run(tmp_path, document(tmp_path, "kind: speech", sources=["mute"]))
    assert (count.given, len(made), count.refused) == (2, 1, {"speech_failed": 1})
    (row,) = pq.read_table(tmp_path / "out" / "quarantine" / "rows-synthetic.parquet").to_pylist()
    assert json.loads(row["raw"])["id"] == "mute/m0"
    assert "silent" in row["message"] or "said nothing" in row["message"]


@needs_program
def test_unknown_voices_are_refused_before_anything_is_made(tmp_path: Path, corpus: Path) -> None:
    for voice in ("klingon-xx", "../../etc", "-x"):
        with pytest.raises(DataError, match="has no voice"):
            run(tmp_path, document(tmp_path, f"kind: speech, voices: {{en: '{voice}'}}"))
    assert not (tmp_path / "out").exists()


def test_without_the_program_the_error_says_how_to_install_it(tmp_path: Path, corpus: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match="apt-get install espeak-ng"):
        run(tmp_path, document(tmp_path, "kind: speech"))


def test_a_program_that_hangs_or_fails_is_a_refusal(tmp_path: Path) -> None:
    program = tmp_path / "espeak-ng"
    for body, says in (
        ("sleep 5", "longer than"),
        ("exit 3", "ended with 3"),
        ("exit 0", "said nothing"),
        ("echo oops", "nothing"),
    ):
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        with pytest.raises(speech.SpeechError, match=says):
            speech.say(str(program), "hello", "en", 160, 0.5)


def test_synthetic_records_are_no_originals(tmp_path: Path, corpus: Path) -> None:
    run(tmp_path, document(tmp_path, "kind: templates"))
    for path in (tmp_path / "out").glob("*.parquet"):
        path.rename(corpus / path.name)
    (count,), _ = run(tmp_path, document(tmp_path, "kind: templates"), "again")
    assert count.given == 6


def test_errors_say_what_to_correct(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(DataError, match="there are things"):
        run(tmp_path, document(tmp_path, "kind: templates", sources=["thing"]))
    with pytest.raises(DataError, match="correct tasks, splits or sources"):
        run(tmp_path, document(tmp_path, "kind: templates", tasks=["bitext"]), "none")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(DataError, match="not empty"):
        run(tmp_path, document(tmp_path, "kind: templates"), "full")
    for helper, says in (
        ("kind: templates, templates: {de: ['kein Platz']}", "must hold"),
        ("kind: translations, table: x.csv", "license"),
        ("kind: speech, voices: {English: en}", "no BCP-47 tag"),
        ("kind: magic", "kind"),
    ):
        with pytest.raises(ConfigError, match=says):
            document(tmp_path, helper)


def test_queries_that_are_no_label_are_skipped(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus")
    config = document(
        tmp_path, "kind: templates", sources=["sounds", "clips"], tasks=["speech_to_text", "text_to_video"]
    )
    (count,), made = run(tmp_path, config)
    assert count.skipped == {"query_is_no_single_text": 1}
    assert {r.source for r in made} == {"clips-synthetic"}
    assert not (tmp_path / "out" / "sounds-synthetic.parquet").exists()

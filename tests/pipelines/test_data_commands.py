"""The commands on a corpus as a user types them: output, files, exit codes, errors without tracebacks."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from model.errors import DataError
from pipelines.commands.data import app
from tests.data.sheet_corpus import write_corpus


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMNIVEC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "140")
    return write_corpus(tmp_path / "mine")


def omnivec(*words: object) -> Result:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_stats_on_the_terminal_as_json_and_as_a_page(corpus: Path, tmp_path: Path) -> None:
    done = omnivec("stats", corpus, "--output", tmp_path / "stats.html", "--largest-group", 0.5)
    assert done.exit_code == 0
    for line in ("clips", "text_to_video", "splits by group hash", "CC0-1.0", "crowd"):
        assert line in done.output
    assert "group 'crowd' holds 67% of pictures" in done.output
    page = (tmp_path / "stats.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4
    assert "<script" not in page
    document = json.loads(omnivec("stats", corpus, "--json").stdout)
    assert document["total"] == 45
    assert {row["source"] for row in document["records"]} == {"words", "pictures", "sounds", "clips", "hostile"}


def test_sheet(corpus: Path, tmp_path: Path) -> None:
    done = omnivec("sheet", corpus, "-o", tmp_path / "sheet.html", "--records", 12)
    assert "12 of 45 records" in done.output
    assert (tmp_path / "sheet.html").read_text(encoding="utf-8").count("<article") == 12
    quarantine = tmp_path / "quarantine"
    quarantine.mkdir()
    shutil.copy(corpus / "words.parquet", quarantine)
    (quarantine / "reasons.jsonl").write_text("")
    assert "Samples: mine" in (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert "30 of 30 records" in omnivec("sheet", quarantine, "-o", tmp_path / "refused.html").output
    assert f"Refused: {tmp_path.name}/quarantine" in (tmp_path / "refused.html").read_text(encoding="utf-8")


def test_versions_from_add_to_fetch(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--no-scm"):
        omnivec("add", corpus)
    added = omnivec("add", corpus, "--no-scm")
    md5 = added.output.split()[0]
    assert md5.endswith(".dir")
    pushed = omnivec("push", corpus, "--to", tmp_path / "remote")
    assert "6 files sent" in pushed.output
    reference = pushed.output.split("corpus: ")[1].strip()
    assert reference == f"dvc+file://{tmp_path}/remote#{md5}"
    assert omnivec("diff", "--corpus", corpus).output.strip() == "no difference"
    (corpus / "sounds.parquet").unlink()
    assert "sounds: 0 added, 1 removed, 0 changed" in omnivec("diff", "--corpus", corpus).output
    found = json.loads(omnivec("diff", "--corpus", corpus, "--json").stdout)
    assert found["files"]["removed"] == ["sounds.parquet"]
    omnivec("pull", corpus)
    assert (corpus / "sounds.parquet").is_file()
    directory = Path(omnivec("fetch", f"{reference}?sources=clips").stdout.strip())
    assert [path.name for path in directory.iterdir()] == ["clips.parquet"]
    assert directory.is_relative_to(tmp_path / "home")
    assert json.loads(omnivec("stats", f"{reference}?sources=clips", "--json").stdout)["total"] == 2


def test_synthesize(corpus: Path, tmp_path: Path) -> None:
    document = tmp_path / "document.yaml"
    document.write_text(f"corpus: {corpus}\nsplits: [train, test, validation]\nhelpers:\n- kind: templates\n")
    done = omnivec("synthesize", document, "-o", tmp_path / "made")
    assert "templates: 36 records from 36 of 36 originals" in done.output
    assert (tmp_path / "made" / "words-synthetic.parquet").is_file()

"""Versions go to a remote and come back whole, with git and without, and nothing is lost on the way."""

import shutil
from pathlib import Path

import pytest

from data.versioning import corpus_version, directory_md5
from data.versions.repository import add, pinned_reference, pull, push, recorded_reference
from model.errors import DataError
from tests.data.versions.conftest import Git, write_source


def test_there_and_back_with_git(corpus: Path, git: Git, tmp_path: Path) -> None:
    digest = directory_md5(corpus)
    made = add(corpus)
    assert (made.md5, made.files, made.size) == digest
    assert set(made.commit) == {"data/mine.dvc", "data/.gitignore", ".dvc/config", ".dvc/.gitignore", ".dvcignore"}
    git("add", *made.commit)
    git("commit", "-qm", "first")
    assert git("status", "--porcelain") == "", "nothing else is new"
    assert push(corpus, to=str(tmp_path / "remote")) == 4
    assert push(corpus) == 0, "what is there is not sent again"
    shutil.rmtree(corpus)
    shutil.rmtree(corpus.parents[1] / ".dvc" / "cache")
    assert pull(corpus) == 4
    assert directory_md5(corpus) == digest
    assert corpus_version(corpus).matches is True
    assert corpus_version(corpus).revision == git("rev-parse", "HEAD")


def test_there_and_back_without_git(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--no-scm"):
        add(corpus)
    made = add(corpus, no_scm=True)
    assert made.commit == ()
    assert not (corpus.parent / ".git").exists()
    push(corpus, to=str(tmp_path / "remote"))
    shutil.rmtree(corpus)
    pull(corpus)
    assert corpus_version(corpus).md5 == made.md5 == pinned_reference(corpus).md5
    with pytest.raises(DataError, match="not under git"):
        recorded_reference(corpus, "v1")


def test_a_changed_corpus_is_neither_pushed_as_the_old_one_nor_overwritten(corpus: Path, tmp_path: Path) -> None:
    add(corpus, no_scm=True)
    push(corpus, to=str(tmp_path / "remote"))
    before = directory_md5(corpus)
    (corpus / "README.md").unlink()
    (corpus / "README.md").write_text("my notes")
    for act in (push, pull):
        with pytest.raises(DataError, match="omnivec data add"):
            act(corpus)
    assert (corpus / "README.md").read_text() == "my notes"
    pull(corpus, force=True)
    assert directory_md5(corpus) == before


def test_a_changed_corpus_that_is_in_the_cache_is_replaced_without_force(corpus: Path, tmp_path: Path) -> None:
    first = add(corpus, no_scm=True)
    shutil.copyfile(corpus.with_name("mine.dvc"), tmp_path / "first.dvc")
    write_source(corpus, "tools", {"saw": "cuts wood"})
    add(corpus)
    shutil.copyfile(tmp_path / "first.dvc", corpus.with_name("mine.dvc"))
    pull(corpus)
    assert directory_md5(corpus)[0] == first.md5


def test_a_version_that_the_remote_lacks_leaves_the_directory_as_it_is(corpus: Path, tmp_path: Path) -> None:
    add(corpus, no_scm=True)
    push(corpus, to=str(tmp_path / "remote"))
    shutil.rmtree(tmp_path / "remote" / "files")
    shutil.rmtree(corpus.parent / ".dvc" / "cache")
    assert pull(corpus) == 0, "the recorded files are here"
    (corpus / "README.md").unlink()
    left = sorted(corpus.iterdir())
    with pytest.raises(DataError, match="remote lacks"):
        pull(corpus, force=True)
    assert sorted(corpus.iterdir()) == left


def test_findings_about_shards_are_no_part_of_a_version(corpus: Path, tmp_path: Path) -> None:
    before = directory_md5(corpus)
    (corpus / "probes").mkdir()
    (corpus / "probes" / "birds.parquet").write_text("found so far")
    assert add(corpus, no_scm=True).md5 == before[0]
    push(corpus, to=str(tmp_path / "remote"))
    (corpus / "probes" / "tools.parquet").write_text("found later")
    assert push(corpus) == 0, "nothing was changed"
    assert corpus_version(corpus).matches
    (corpus / "README.md").unlink()
    pull(corpus)
    assert (corpus / "probes" / "tools.parquet").exists()


def test_findings_that_somebody_recorded_are_accepted(corpus: Path) -> None:
    (corpus / "probes").mkdir()
    (corpus / "probes" / "birds.parquet").write_text("found so far")
    from dvc.repo import Repo

    Repo.init(str(corpus.parent), no_scm=True).add(str(corpus))
    assert corpus_version(corpus).matches
    (corpus / "README.md").write_text("changed")
    assert corpus_version(corpus).matches is False


def test_errors_say_what_to_do(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="omnivec data add"):
        push(corpus)
    with pytest.raises(DataError, match=r"no \*\.parquet"):
        add(tmp_path)
    add(corpus, no_scm=True)
    with pytest.raises(DataError, match="--to"):
        push(corpus)
    with pytest.raises(DataError, match="allowed are"):
        push(corpus, to="ftp://host/x")
    with pytest.raises(DataError, match="holds a login"):
        push(corpus, to="https://me:secret@host/x")
    push(corpus, to=str(tmp_path / "remote"))
    with pytest.raises(DataError, match="configured are storage"):
        push(corpus, remote="other")
    other = corpus.with_name("other")
    write_source(other, "birds", {"owl": "a bird"})
    with pytest.raises(DataError, match="is not recorded"):
        push(other)


def test_what_git_tracks_is_left_to_git(corpus: Path, git: Git) -> None:
    git("add", ".")
    git("commit", "-qm", "first")
    with pytest.raises(DataError, match="tracked by SCM"):
        add(corpus)


def test_an_output_of_a_stage_is_recorded_in_the_lock(corpus: Path, git: Git) -> None:
    root = corpus.parents[1]
    git("add", ".")
    git("commit", "-qm", "first")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    text = "stages:\n  mine:\n    cmd: 'false'\n    outs:\n    - data/mine:\n        cache: false\n"
    (root / "dvc.yaml").write_text(text)
    made = add(corpus)
    assert "dvc.lock" in made.commit
    assert corpus_version(corpus).recorded == made.md5
    write_source(corpus, "tools", {"saw": "cuts wood"})
    assert corpus_version(corpus).matches is False
    assert add(corpus).md5 == corpus_version(corpus).recorded != made.md5
    with pytest.raises(DataError, match="git itself"):
        push(corpus)

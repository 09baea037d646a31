"""The digest is DVC's own, and a changed corpus is noticed."""

from pathlib import Path

import pytest

from data.versioning import corpus_version, directory_md5


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "starter"
    (folder / "more").mkdir(parents=True)
    (folder / "b.parquet").write_bytes(b"b" * 5000)
    (folder / "a-é.md").write_text("credits")
    (folder / "more" / "c").write_bytes(b"")
    return folder


def lock(corpus: Path, md5: str) -> None:
    text = f"schema: '2.0'\nstages:\n  starter:\n    cmd: x\n    outs:\n    - path: data/starter\n      md5: {md5}\n"
    (corpus.parent.parent / "dvc.lock").write_text(text)


def test_digest_equals_the_one_dvc_computes(corpus: Path) -> None:
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    local = LocalFileSystem()
    store = HashFileDB(local, str(corpus.parent / "store"))
    _, _, tree = build(store, str(corpus), local, "md5", dry_run=True)
    assert directory_md5(corpus) == (tree.hash_info.value, 3, 5007)


def test_untracked_corpus_says_so(corpus: Path) -> None:
    version = corpus_version(corpus)
    assert version.matches is None
    assert "not tracked" in version.sentence()


def test_recorded_digest_is_compared(corpus: Path) -> None:
    lock(corpus, directory_md5(corpus)[0])
    assert corpus_version(corpus).matches is True
    (corpus / "b.parquet").write_bytes(b"changed")
    changed = corpus_version(corpus)
    assert changed.matches is False
    assert "the files were changed" in changed.sentence()
    assert changed.md5 in changed.sentence()


def test_a_given_digest_replaces_the_recorded_one(corpus: Path) -> None:
    lock(corpus, "0.dir")
    md5, _, _ = directory_md5(corpus)
    assert corpus_version(corpus, recorded=md5).matches is True

"""Differences are told in records: every planted one is found, and nothing else."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.versions.changes import Changes, _compare, changes
from data.versions.origin import origin
from data.versions.repository import add, recorded_reference
from tests.data.versions.conftest import Git, write_source

WORDS = st.dictionaries(st.text("abc", min_size=1, max_size=2), st.sampled_from(["x", "y"]), max_size=6)


def compare(corpus: Path, cache: Path, revision: str | None = None) -> Changes:
    with origin(recorded_reference(corpus, revision)) as before:
        return changes(before, corpus, cache)


def test_planted_changes_against_a_commit(corpus: Path, git: Git, tmp_path: Path) -> None:
    made = add(corpus)
    git("add", *made.commit)
    git("commit", "-qm", "first")
    assert not compare(corpus, tmp_path / "cache").any
    write_source(corpus, "tools", {"saw": "cuts wood", "pen": "writes", "axe": "cuts too"})
    write_source(corpus, "plants", {"oak": "a tree"})
    (corpus / "birds.parquet").unlink()
    found = compare(corpus, tmp_path / "cache")
    assert found.files == {"added": ["plants.parquet"], "removed": ["birds.parquet"], "changed": ["tools.parquet"]}
    counts = {c.source: (c.added, c.removed, c.changed) for c in found.sources}
    assert counts == {"birds": (0, 2, 0), "plants": (1, 0, 0), "tools": (1, 0, 1)}
    tools = found.sources[2]
    assert tools.fields == {"positives": 1}
    assert tools.examples == {"added": ["tools/axe"], "changed": ["tools/saw"]}
    add(corpus)
    git("commit", "-qam", "second")
    assert not compare(corpus, tmp_path / "cache").any
    assert compare(corpus, tmp_path / "cache", "HEAD~1").files == found.files


def test_other_pictures_under_the_same_words_are_a_change(corpus: Path, tmp_path: Path) -> None:
    add(corpus, no_scm=True)
    write_source(corpus, "birds", {"owl": "a bird", "hen": "another"}, picture=b"another picture")
    (change,) = compare(corpus, tmp_path / "cache").sources
    assert (change.added, change.removed, change.changed, change.fields) == (0, 0, 2, {"query": 2})


def test_records_that_move_between_files_of_a_source_are_no_change(corpus: Path, tmp_path: Path) -> None:
    add(corpus, no_scm=True)
    (corpus / "tools.parquet").unlink()
    write_source(corpus, "tools", {"pen": "writes"}, file="tools-00000")
    write_source(corpus, "tools", {"saw": "cuts"}, file="tools-00001")
    found = compare(corpus, tmp_path / "cache")
    assert found.any
    (change,) = found.sources
    assert (change.source, change.added, change.removed, change.changed) == ("tools", 0, 0, 0)


def test_the_starter_corpus_form_is_compared_too(corpus: Path, git: Git, tmp_path: Path) -> None:
    git("add", ".")
    git("commit", "-qm", "first")
    root = corpus.parents[1]
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("")
    git("add", ".")
    git("commit", "-qm", "second")
    assert not compare(corpus, tmp_path / "cache").any
    write_source(corpus, "tools", {"saw": "cuts wood", "pen": "writes"})
    (change,) = compare(corpus, tmp_path / "cache").sources
    assert (change.added, change.removed, change.changed) == (0, 0, 1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WORDS, WORDS)
def test_counts_are_those_of_sets(tmp_path: Path, old: dict[str, str], new: dict[str, str]) -> None:
    for side, words in (("old", old), ("new", new)):
        write_source(tmp_path / side, "words", words)
    change = _compare("words", [tmp_path / "old" / "words.parquet"], [tmp_path / "new" / "words.parquet"])
    assert change.added == len(new.keys() - old.keys())
    assert change.removed == len(old.keys() - new.keys())
    assert change.changed == sum(new[name] != old[name] for name in old.keys() & new.keys())
    assert len(old) + change.added - change.removed == len(new)

"""A pinned version arrives whole and checked, only as much of it as is asked for, and only once."""

import io
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from data.versioning import corpus_version, directory_md5
from data.versions.fetch import fetch, identity, read_origin, source_of
from data.versions.origin import Entry, Origin, origin, portable
from data.versions.reference import RemoteReference, parse_reference
from data.versions.repository import add, pinned_reference, push, recorded_reference
from model.errors import DataError
from tests.data.versions.conftest import Git, write_source


@pytest.fixture
def pushed(corpus: Path, tmp_path: Path) -> RemoteReference:
    add(corpus, no_scm=True)
    push(corpus, to=str(tmp_path / "remote"))
    return pinned_reference(corpus)


def get(reference: str, cache: Path) -> Path:
    with origin(parse_reference(reference)) as found:
        return fetch(found, cache)


def watched(found: Origin, opened: list[str]) -> Origin:
    def open_and_note(entry: Entry) -> IO[bytes]:
        opened.append(entry.name)
        return found.open(entry)

    return replace(found, open=open_and_note)


def test_by_digest_from_a_remote(corpus: Path, pushed: RemoteReference, tmp_path: Path) -> None:
    directory = get(str(pushed), tmp_path / "cache")
    assert directory_md5(directory) == directory_md5(corpus)
    version = corpus_version(directory)
    assert version.matches
    assert (version.remote, version.reference) == (pushed.remote, str(pushed))
    assert str(pushed) in version.sentence()


def test_by_digest_from_an_object_store(corpus: Path, pushed: RemoteReference, tmp_path: Path) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    for path in (tmp_path / "remote").rglob("*"):
        if path.is_file():
            store.pipe(f"/bucket/{path.relative_to(tmp_path / 'remote')}", path.read_bytes())
    directory = get(f"dvc+memory://bucket#{pushed.md5}", tmp_path / "cache")
    assert directory_md5(directory) == directory_md5(corpus)


@pytest.mark.parametrize("address", ["{}", "file://{}"])
def test_by_revision_from_a_repository(corpus: Path, git: Git, tmp_path: Path, address: str) -> None:
    made = add(corpus)
    push(corpus, to=str(tmp_path / "remote"))
    git("add", *made.commit)
    git("commit", "-qm", "first")
    git("tag", "v1")
    write_source(corpus, "tools", {"saw": "cuts wood"})
    newer = add(corpus)
    push(corpus)
    git("commit", "-qam", "second")
    root = address.format(corpus.parents[1])
    for revision, md5 in (("v1", made.md5), ("main", newer.md5), ("HEAD", newer.md5)):
        with origin(parse_reference(f"dvc://{root}#data/mine@{revision}")) as found:
            assert found.reference == replace(parse_reference(f"dvc://{root}#data/mine@{found.revision}"))
            assert found.revision == git("rev-parse", revision)
            assert found.md5 == md5
            directory = fetch(found, tmp_path / "cache")
        assert directory_md5(directory)[0] == md5
        assert directory.name == "mine"


def test_the_last_commit_is_meant_and_must_be_what_is_recorded(corpus: Path, git: Git, tmp_path: Path) -> None:
    made = add(corpus)
    push(corpus, to=str(tmp_path / "remote"))
    reference = f"dvc://{corpus.parents[1]}#data/mine"
    with pytest.raises(DataError):
        get(reference, tmp_path / "cache")
    git("add", *made.commit)
    git("commit", "-qm", "first")
    assert directory_md5(get(reference, tmp_path / "cache"))[0] == made.md5
    write_source(corpus, "tools", {"saw": "cuts wood"})
    add(corpus)
    with pytest.raises(DataError, match=r"commit the \.dvc file first"):
        get(reference, tmp_path / "cache")


def test_files_that_git_carries(corpus: Path, git: Git, tmp_path: Path) -> None:
    git("add", ".")
    git("commit", "-qm", "first")
    (corpus.parents[1] / ".dvc").mkdir()
    (corpus.parents[1] / ".dvc" / "config").write_text("")
    git("add", ".")
    git("commit", "-qm", "second")
    directory = get(f"dvc://{corpus.parents[1]}#data/mine@main?sources=tools", tmp_path / "cache")
    assert [path.name for path in directory.iterdir()] == ["tools.parquet"]
    assert corpus_version(directory).revision == git("rev-parse", "main")
    (directory / "tools.parquet").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"delete .* and run again"):
        corpus_version(directory)


def test_only_the_wanted_shards_are_opened_and_only_once(pushed: RemoteReference, tmp_path: Path) -> None:
    opened: list[str] = []
    with origin(replace(pushed, sources=("tools",))) as found:
        part = fetch(watched(found, opened), tmp_path / "cache")
    assert opened == ["tools.parquet"] == [path.name for path in part.iterdir()]
    assert corpus_version(part).matches
    with origin(pushed) as found:
        fetch(watched(found, opened), tmp_path / "cache")
        fetch(watched(found, opened), tmp_path / "cache")
    assert sorted(opened) == ["README.md", "birds.parquet", "tools.parquet"]


def test_identity_follows_content_and_choice(pushed: RemoteReference, tmp_path: Path) -> None:
    with origin(pushed) as whole, origin(replace(pushed, sources=("tools",))) as part:
        assert identity(whole) != identity(part)
        assert identity(replace(whole, remote="s3://elsewhere")) == identity(whole)


def test_an_unknown_source_and_an_unknown_digest_are_named(pushed: RemoteReference, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no shard of tool; there are birds, tools"):
        get(f"{pushed}?sources=tool", tmp_path / "cache")
    with pytest.raises(DataError, match="holds no 0000"):
        get(f"dvc+{pushed.remote}#{'0' * 32}.dir", tmp_path / "cache")


def test_an_interrupted_download_goes_on(pushed: RemoteReference, tmp_path: Path) -> None:
    asked: list[int] = []

    def flaky(found: Origin, fail: bool) -> Callable[[Entry], IO[bytes]]:
        class Source(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                asked.append(self.tell())
                if fail and self.tell() >= 1000:
                    raise OSError("the line is dead")
                return super().read(1000)

        return lambda entry: Source(found.open(entry).read())

    with origin(replace(pushed, sources=("tools",))) as found:
        with pytest.raises(OSError, match="dead"):
            fetch(replace(found, open=flaky(found, fail=True)), tmp_path / "cache")
        assert not list((tmp_path / "cache" / "trees").iterdir()), "nothing half-made is shown"
        asked.clear()
        directory = fetch(replace(found, open=flaky(found, fail=False)), tmp_path / "cache")
    assert asked[0] == 1000, "it goes on where it ended"
    assert corpus_version(directory).matches


def test_damage_is_found_there_here_and_later(pushed: RemoteReference, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    directory = get(str(pushed), cache)
    kept = next(path for path in (cache / "files").rglob("*") if path.is_file() and path.suffix != ".lock")
    content = kept.read_bytes()
    kept.chmod(0o644)
    kept.write_bytes(content[:-1] + b"!")
    with pytest.raises(DataError, match=r"delete .* and run again"):
        corpus_version(directory)
    (directory.parent / "origin.json").unlink()
    assert corpus_version(get(str(pushed), cache)).matches, "the cached file is checked and fetched again"
    there = next(path for path in (tmp_path / "remote").rglob("*") if path.is_file() and path.suffix != ".dir")
    there.chmod(0o644)
    there.write_bytes(b"!" * there.stat().st_size)
    with pytest.raises(DataError, match="damaged there"):
        get(str(pushed), tmp_path / "other")


@pytest.mark.parametrize("name", ["../evil.parquet", "/etc/evil.parquet", "a/../../evil.parquet"])
def test_a_list_of_files_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    import hashlib
    import json

    text = json.dumps([{"md5": "0" * 32, "relpath": name}]).encode()
    md5 = hashlib.md5(text).hexdigest()
    place = tmp_path / "files" / "md5" / md5[:2] / f"{md5[2:]}.dir"
    place.parent.mkdir(parents=True)
    place.write_bytes(text)
    with pytest.raises(DataError, match="no file inside"):
        get(f"dvc+file://{tmp_path}#{md5}.dir", tmp_path / "cache")


def test_several_at_once_share_a_cache(pushed: RemoteReference, tmp_path: Path) -> None:
    found: list[Path | BaseException] = []

    def one() -> None:
        try:
            found.append(get(str(pushed), tmp_path / "cache"))
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert corpus_version(Path(str(found[0]))).matches


def test_a_repository_without_git_has_one_version(corpus: Path, pushed: RemoteReference, tmp_path: Path) -> None:
    reference = f"dvc://{corpus.parent}#mine"
    with origin(parse_reference(reference)) as found:
        assert str(found.reference) == f"{reference}@{pushed.md5}"
    assert corpus_version(get(f"{reference}@{pushed.md5}", tmp_path / "cache")).matches
    with pytest.raises(DataError, match="leave out @v1"):
        get(f"{reference}@v1", tmp_path / "cache")
    assert recorded_reference(corpus) == RemoteReference(f"file://{corpus.parent}/.dvc/cache", pushed.md5)


def test_repositories_and_revisions_that_are_not_there(corpus: Path, git: Git, tmp_path: Path) -> None:
    made = add(corpus)
    git("add", *made.commit)
    git("commit", "-qm", "first")
    root = corpus.parents[1]
    with pytest.raises(DataError, match="no such revision"):
        get(f"dvc://{root}#data/mine@v9", tmp_path / "cache")
    with pytest.raises(DataError, match="no directory in that version"):
        get(f"dvc://{root}#data/other@main", tmp_path / "cache")
    with pytest.raises(DataError, match=r"cannot be reached|not a DVC repository"):
        get(f"dvc://{tmp_path}/nowhere#data/mine@main", tmp_path / "cache")


def test_a_version_in_a_shared_remote_is_named_for_machines_without_git(corpus: Path, git: Git, tmp_path: Path) -> None:
    made = add(corpus)
    push(corpus, to=str(tmp_path / "remote"))
    git("add", *made.commit)
    git("commit", "-qm", "first")
    with origin(parse_reference(f"dvc://{corpus.parents[1]}#data/mine@main?sources=tools")) as found:
        assert portable(found) == found.reference, "nobody else reaches a directory of this machine"
        shared = portable(replace(found, remote="s3://bucket/x"))
    head = git("rev-parse", "HEAD")
    assert str(shared) == f"dvc+s3://bucket/x#{made.md5}?sources=tools&revision={head}"
    directory = get(str(replace(shared, remote=f"file://{tmp_path}/remote")), tmp_path / "cache")
    assert corpus_version(directory).revision == head


def test_sources_by_file_name() -> None:
    names = ("stamps.parquet", "web-00012.parquet", "web-12.parquet", "README.md", "probes/web.parquet")
    assert [source_of(name) for name in names] == ["stamps", "web", "web-12", None, None]
    assert read_origin(Path("/nowhere/at/all")) is None

"""Corpora of a few records, and repositories that hold them."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from data.records import PartRef, Record
from data.shards import write_shard
from data.splits import split_of
from model.content import Modality, media_digest

Words = Mapping[str, str]
Git = Callable[..., str]


def record(source: str, name: str, words: str, media: str | None = None) -> Record:
    query = PartRef(Modality.IMAGE, media=media) if media else PartRef(Modality.TEXT, text=f"what is {name}")
    return Record(
        id=f"{source}/{name}", task="text_to_image", query=(query,), positives=((PartRef(Modality.TEXT, text=words),),),
        negatives=(), source=source, languages=("en",), license="MIT", group=name, split=split_of(name),
    )  # fmt: skip


def write_source(folder: Path, source: str, words: Words, *, file: str | None = None, picture: bytes = b"") -> None:
    media = {media_digest(picture): (Modality.IMAGE, picture)} if picture else {}
    digest = next(iter(media), None)
    rows = [record(source, name, text, digest) for name, text in words.items()]
    write_shard(folder / f"{file or source}.parquet", rows, media)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "work" / "data" / "mine"
    folder.mkdir(parents=True)
    write_source(folder, "birds", {"owl": "a bird", "hen": "another"}, picture=b"not really a picture")
    write_source(folder, "tools", {"saw": "cuts", "pen": "writes"})
    (folder / "README.md").write_text("two sources")
    return folder


@pytest.fixture
def git(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Run git in a new checkout around the corpus; no configuration of the user takes part."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.com")
    root = corpus.parents[1]

    def run(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    run("init", "-q", "-b", "main")
    return run

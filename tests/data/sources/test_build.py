from pathlib import Path

import pytest

from data.shards import read_records
from data.sources import build as builder
from data.sources.draft import Draft, text_part
from data.sources.licenses import CREDITS
from data.sources.packages import PACKAGES
from model.errors import ConfigError


def _toy(cache: Path) -> Draft:
    draft = Draft("toy", "CC0-1.0")
    draft.add("a", "t", [text_part("x")], [text_part("y")], group="g", languages=["en"])
    return draft


def test_unknown_source_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown source\(s\) emojis; known are: emoji-fluent"):
        builder.build(tmp_path / "out", tmp_path, ["emojis"])
    assert not (tmp_path / "out").exists()


def test_build_writes_same_bytes_twice_with_licences_and_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "BUILDERS", {"toy": _toy})
    builder.build(tmp_path / "one", tmp_path)
    builder.build(tmp_path / "two", tmp_path)
    assert (tmp_path / "one/toy.parquet").read_bytes() == (tmp_path / "two/toy.parquet").read_bytes()
    assert "| toy | `CC0-1.0` |" in (tmp_path / "one/LICENSES.md").read_text()
    assert "| toy | 1 |" in builder.table(tmp_path / "one")
    assert [r.id for r in read_records(tmp_path / "one/toy.parquet")] == ["toy/a"]


def test_every_shard_and_package_is_credited() -> None:
    assert {shard for credit in CREDITS.values() for shard in credit.shards} == builder.BUILDERS.keys()
    assert CREDITS.keys() <= PACKAGES.keys()
    credited = {name.split("-")[0] for name in CREDITS}
    assert {name.split("-")[0] for name in PACKAGES} == credited

"""A file is whole or not there."""

from pathlib import Path

import pytest

from model.files import whole_file


def test_nothing_is_seen_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.json"
    with whole_file(path) as partial:
        partial.write_text("{}", encoding="utf-8")
        assert not path.exists()
        assert not list(path.parent.glob("*.json"))
    assert path.read_text(encoding="utf-8") == "{}"


def test_what_was_there_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("before", encoding="utf-8")

    def fail() -> None:
        with whole_file(path) as partial:
            partial.write_text("half", encoding="utf-8")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text(encoding="utf-8") == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["rows.json"]

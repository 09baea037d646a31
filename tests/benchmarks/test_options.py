"""What is wrong with an option is told in one line, before anything is measured."""

import argparse
import json
import sys
from pathlib import Path

import pytest

from benchmarks import __main__
from benchmarks.options import add_options
from model.integrity import write_digests


def said(capsys: pytest.CaptureFixture[str], *given: str) -> str:
    parser = argparse.ArgumentParser(prog="bench")
    add_options(parser, rounds=3)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(given)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bench: {given[0]} {given[1]}: ")
    return line


def artifact(directory: Path, kind: str, *, whole: bool = True) -> str:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"kind": kind}))
    if whole:
        write_digests(directory)
    return str(directory)


def test_each_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    way_out = "leave --model out for the initial weights"
    for path in ("/no/such/model", str(tmp_path), artifact(tmp_path / "part", "unified", whole=False)):
        assert way_out in said(capsys, "--model", path)
    other = artifact(tmp_path / "other", "sentence_transformer")
    assert "it is a 'sentence_transformer' model" in said(capsys, "--model", other)
    assert "holds no *.parquet shard" in said(capsys, "--corpus", str(tmp_path))
    assert "bin/python of an environment" in said(capsys, "--infinity", str(tmp_path))
    assert "1 or more" in said(capsys, "--rounds", "0")


def test_good_ones_and_none_are_taken(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, rounds=3)
    good = artifact(tmp_path / "good", "unified")
    given = parser.parse_args(["--model", good, "--infinity", sys.executable, "--threads", "1"])
    assert (given.model, given.infinity, given.threads, given.rounds) == (Path(good), Path(sys.executable), 1, 3)
    assert parser.parse_args([]).model is None


def test_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["python -m benchmarks", "encode-texts", "--model", "/no/such/model"])
    monkeypatch.setattr(__main__, "ROWS", {"encode-texts": pytest.fail})
    monkeypatch.setattr(__main__, "setting_of", pytest.fail)
    with pytest.raises(SystemExit):
        __main__.main()
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.count("\n") == 1

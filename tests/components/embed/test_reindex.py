"""``omnivec reindex``: only what changed, or all for another space; never two spaces in one file."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from components.embed import run as module
from components.embed.about import About, about_path
from components.embed.config import EmbedConfig
from components.embed.reindex import compare, reindex
from components.embed.run import run
from model.artifact import load_encoder
from model.errors import DataError
from pipelines.cli import app
from serving.engine import vector_space_id
from tests.conftest import make_png

CONFIG = EmbedConfig(items_per_part=2)


@pytest.fixture(scope="module")
def other_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of another vector space."""
    from model.unified.build import build_encoder
    from model.weights.random import random_weights

    home = tmp_path_factory.mktemp("other")
    build_encoder(random_weights(home / "weights", seed=7), {}, source="random").save(home / "artifact")
    return home / "artifact"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four inputs: two texts, a picture, and a line that names the picture; one bad."""
    home = tmp_path / "inputs"
    home.mkdir()
    for name in ("a", "b"):
        (home / f"{name}.txt").write_text(f"text {name}")
    (home / "one.png").write_bytes(make_png(1))
    (home / "bad.png").write_bytes(b"no picture")
    (home / "lines.jsonl").write_text(json.dumps({"id": "line", "parts": [{"image": "one.png"}, {"text": "in blue"}]}))
    return home


@pytest.fixture
def output(folder: Path, tiny_artifact: Path, tmp_path: Path) -> Path:
    """A file of vectors."""
    path = tmp_path / "vectors.parquet"
    run(CONFIG, inputs=[folder], model=tiny_artifact, output=path)
    return path


def vectors(path: Path) -> dict[str, list[float]]:
    table = pq.read_table(path)
    return dict(zip(table["id"].to_pylist(), table["vector"].to_pylist(), strict=True))


def names(ids: frozenset[str]) -> set[str]:
    return {Path(name).name for name in ids}


def test_a_file_tells_its_space_and_is_up_to_date(output: Path, tiny_artifact: Path) -> None:
    about = About.beside(output)
    assert about.vector_space == vector_space_id(tiny_artifact)
    standing = compare(output, tiny_artifact)
    assert standing.is_current
    assert "is up to date" in str(standing)
    answer = CliRunner().invoke(app, ["reindex", str(output), "--model", str(tiny_artifact), "--check"])
    assert answer.exit_code == 0, answer.output


def test_only_what_is_new_or_changed_is_embedded(
    output: Path, folder: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = vectors(output)
    (folder / "a.txt").write_text("something else entirely")
    (folder / "c.txt").write_text("text c")
    (folder / "b.txt").unlink()
    standing = compare(output, tiny_artifact)
    assert (names(standing.changed), names(standing.gone)) == ({"a.txt", "c.txt"}, {"b.txt"})
    asked: list[str] = []
    embed = module.embed_sources

    def listening(encoder, sources, *rest):
        asked.extend(source.id for source in sources)
        return embed(encoder, sources, *rest)

    monkeypatch.setattr(module, "embed_sources", listening)
    counts = reindex(output, tiny_artifact, standing)
    assert names(frozenset(asked)) == {"a.txt", "c.txt", "bad.png"}, "and what was skipped is tried again"
    assert (counts["reused"], counts["skipped"]) == (2, 1)
    after = vectors(output)
    assert {Path(name).name for name in after} == {"a.txt", "c.txt", "one.png", "line"}
    assert after["line"] == before["line"]
    assert after[str(folder / "a.txt")] != before[str(folder / "a.txt")]
    assert compare(output, tiny_artifact).is_current


def test_a_picture_that_a_line_names_counts_as_a_change(output: Path, folder: Path, tiny_artifact: Path) -> None:
    (folder / "one.png").write_bytes(make_png(2, width=60))
    assert names(compare(output, tiny_artifact).changed) == {"one.png", "line"}


@pytest.mark.parametrize("suffix", [".jsonl", ".npy"])
def test_other_formats_keep_their_vectors_too(
    suffix: str, folder: Path, tiny_artifact: Path, tmp_path: Path, output: Path
) -> None:
    path = tmp_path / f"vectors{suffix}"
    run(CONFIG, inputs=[folder], model=tiny_artifact, output=path)
    (folder / "c.txt").write_text("text c")
    assert reindex(path, tiny_artifact, compare(path, tiny_artifact))["reused"] == 4
    reindex(output, tiny_artifact, compare(output, tiny_artifact))
    wanted = np.array(list(vectors(output).values()), dtype=np.float32)
    if suffix == ".npy":
        got = np.load(path)
    else:
        got = np.array([json.loads(line)["vector"] for line in path.read_text().splitlines()])
    assert np.allclose(got, wanted, atol=1e-6)


def test_another_space_means_everything_again_and_the_old_file_stays_until_then(
    output: Path, folder: Path, other_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = output.read_bytes()
    standing = compare(output, other_artifact)
    assert not standing.same_space
    assert "all 5 inputs must be embedded again" in str(standing)
    embed, calls = module.embed_sources, []

    def failing(*arguments):
        calls.append(output.read_bytes() == before)
        if len(calls) == 2:
            raise OSError("the disk is full")
        return embed(*arguments)

    monkeypatch.setattr(module, "embed_sources", failing)
    with pytest.raises(OSError, match="the disk is full"):
        reindex(output, other_artifact, standing)
    assert output.read_bytes() == before
    assert About.beside(output).vector_space == standing.about.vector_space
    counts = reindex(output, other_artifact, compare(output, other_artifact))
    assert (counts["resumed"], counts["reused"]) == (2, 0)
    assert all(calls)
    assert About.beside(output).vector_space == standing.space
    encoder = load_encoder(other_artifact)
    from model.content import Content
    from model.encoding import encode_contents

    wanted = encode_contents(encoder, [Content.of("text a")])[0]
    assert np.allclose(vectors(output)[str(folder / "a.txt")], wanted, atol=1e-5)


def test_pieces_of_an_unfinished_run_for_another_model_are_never_used(
    output: Path, tiny_artifact: Path, other_artifact: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = vectors(output)
    embed, calls = module.embed_sources, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise OSError("killed")
        return embed(*arguments)

    monkeypatch.setattr(module, "embed_sources", failing)
    with pytest.raises(OSError, match="killed"):
        reindex(output, other_artifact, compare(output, other_artifact))
    (folder / "c.txt").write_text("text c")  # and the champion was rolled back meanwhile
    counts = reindex(output, tiny_artifact, compare(output, tiny_artifact))
    assert (counts["resumed"], counts["reused"]) == (0, 4)
    after = vectors(output)
    assert all(after[name] == vector for name, vector in before.items())


def test_a_file_that_does_not_tell_or_was_replaced_is_refused(
    output: Path, tiny_artifact: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="is no file of vectors"):
        compare(tmp_path / "none.parquet", tiny_artifact)
    kept = about_path(output).read_bytes()
    about_path(output).unlink()
    with pytest.raises(DataError, match=r"does not say which space .* omnivec embed"):
        compare(output, tiny_artifact)
    about_path(output).write_bytes(kept)
    output.write_bytes(output.read_bytes() + b"\0")
    with pytest.raises(DataError, match="one of them was replaced"):
        compare(output, tiny_artifact)


@pytest.mark.minutes
def test_a_kill_at_any_moment_leaves_a_whole_file_of_one_space(
    output: Path, folder: Path, tiny_artifact: Path, other_artifact: Path
) -> None:
    for index in range(40):
        (folder / f"more{index}.txt").write_text(f"text {index}")
    spaces = {vector_space_id(tiny_artifact), vector_space_id(other_artifact)}
    command = [sys.executable, "-m", "pipelines.cli", "reindex", str(output), "--model", str(other_artifact)]
    for seconds in (6, 9, 12, 600):
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        ended = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < ended:
            time.sleep(0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert About.beside(output).vector_space in spaces
        vectors(output)
        if process.returncode == 0:
            break
    assert compare(output, other_artifact).is_current
    assert len(vectors(output)) == 44

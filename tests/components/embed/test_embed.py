"""``omnivec embed``: right vectors, bad inputs set aside, interruptions survived."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.embed import run as module
from components.embed.config import EmbedConfig
from components.embed.run import run
from model.artifact import load_encoder
from model.content import Content, audio, image
from model.encoding import encode_contents
from model.errors import ConfigError, DataError
from tests.conftest import make_ogg, make_png

LINES = [
    {"id": "cat", "text": "a cat"},
    {"id": "blue", "parts": [{"image": "pictures/one.png"}, {"text": "the same, in blue"}]},
    {"id": "asked", "text": "a cat", "task": "query"},
    {"id": "number", "text": 3},
    {"id": "kind", "smell": "roses"},
    {"id": "gone", "image": "nowhere.png"},
    {"id": "task", "text": "a cat", "task": "unheard of"},
    {"id": "title", "text": "a cat", "task": "query", "title": "Cats"},
    {"id": "empty", "parts": []},
    ["no object"],
    {"id": "half", "text": "\ud800 alone"},
    {"id": "zero", "image": "a\0b.png"},
    {"id": "device", "image": "/dev/zero"},
    {"id": None, "text": ["no text"]},
    {"id": None, "text": {}},
    {"id": "half \ud800", "text": 3},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as people have them: good files, broken ones, foreign ones, a hidden one, and a list."""
    root = tmp_path / "in"
    (root / "pictures").mkdir(parents=True)
    (root / "pictures" / "one.png").write_bytes(make_png(1))
    (root / "pictures" / "cut.png").write_bytes(make_png(2)[:60])
    (root / "pictures" / ".hidden.png").write_bytes(b"")
    (root / "hello.ogg").write_bytes(make_ogg(1))
    (root / "note.txt").write_text("a note about cats")
    (root / "program.exe").write_bytes(b"MZ")
    (root / "link.png").symlink_to(root / "moved away.png")
    (root / "list.jsonl").write_text("\n".join(json.dumps(line) for line in LINES) + "\n{broken\n\n")
    return root


def embed(folder: Path, output: Path, model: Path, **config: object) -> dict[str, int]:
    return run(EmbedConfig.parse({"items_per_part": 4, **config}), inputs=[folder], model=model, output=output)


def test_good_inputs_get_their_vectors_and_bad_ones_their_reasons(
    folder: Path, tmp_path: Path, tiny_artifact: Path
) -> None:
    out = tmp_path / "out.parquet"
    counts = embed(folder, out, tiny_artifact)
    rows = {row["id"]: row for row in pq.read_table(out).to_pylist()}
    good = {
        "cat": Content.of("a cat"),
        "blue": Content.of(image(make_png(1)), "the same, in blue"),
        "asked": Content.of("a cat", task="query"),
        str(folder / "pictures/one.png"): Content.of(image(make_png(1))),
        str(folder / "hello.ogg"): Content.of(audio(make_ogg(1))),
        str(folder / "note.txt"): Content.of("a note about cats"),
    }
    assert rows.keys() == good.keys()
    expected = encode_contents(load_encoder(tiny_artifact), list(good.values()), desc="")
    np.testing.assert_allclose([rows[key]["vector"] for key in good], expected, atol=1e-6)
    assert rows["blue"]["kind"] == "interleaved"
    skipped = [json.loads(line) for line in Path(f"{out}.skipped.jsonl").read_text().splitlines()]
    codes = {row["id"].removeprefix(str(folder) + "/"): row["code"] for row in skipped}
    assert codes == {
        "pictures/cut.png": "image_truncated",
        "program.exe": "unsupported_media_type",
        "number": "malformed_line",
        "kind": "malformed_line",
        "gone": "file_unreadable",
        "task": "unknown_task",
        "title": "title_unused",
        "empty": "empty_content",
        "link.png": "file_unreadable",
        "half": "malformed_part",
        "zero": "file_unreadable",
        "device": "file_unreadable",
        **{f"list.jsonl:{line}": "malformed_line" for line in (10, 14, 15, 16, 17)},
    }
    assert all(row["reason"] for row in skipped)
    assert counts == {"inputs": 23, "embedded": 6, "skipped": 17, "resumed": 0, "reused": 0}
    assert not Path(f"{out}.parts").exists()


def test_a_killed_run_goes_on_and_gives_the_same_file(
    folder: Path, tmp_path: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, pieces = tmp_path / "whole.parquet", tmp_path / "pieces.parquet"
    embed(folder, whole, tiny_artifact)
    real, calls = module.embed_sources, []

    def dies_in_the_third(encoder, sources, config, dimension, quantizer):
        calls.append(len(sources))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(encoder, sources, config, dimension, quantizer)

    monkeypatch.setattr(module, "embed_sources", dies_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        embed(folder, pieces, tiny_artifact)
    assert not pieces.exists()
    counts = embed(folder, pieces, tiny_artifact)
    assert counts["resumed"] == 8
    assert calls == [4, 4, 4, 4, 4, 4, 3]
    assert pieces.read_bytes() == whole.read_bytes()


def test_an_unfinished_run_of_other_inputs_is_not_continued(
    folder: Path, tmp_path: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(module.Parts, "finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            embed(folder, out, tiny_artifact)
    (folder / "late.txt").write_text("a later note")
    with pytest.raises(ConfigError, match=r"unfinished run with other inputs: delete it"):
        embed(folder, out, tiny_artifact)


@pytest.mark.parametrize("suffix", [".jsonl", ".npy"])
def test_formats_hold_the_same_vectors(folder: Path, tmp_path: Path, tiny_artifact: Path, suffix: str) -> None:
    embed(folder, tmp_path / "a.parquet", tiny_artifact, dimension=32)
    embed(folder, tmp_path / f"b{suffix}", tiny_artifact, dimension=32)
    table = pq.read_table(tmp_path / "a.parquet").to_pydict()
    if suffix == ".npy":
        vectors = np.load(tmp_path / "b.npy", allow_pickle=False)
        ids = [json.loads(line) for line in (tmp_path / "b.npy.ids.txt").read_text().splitlines()]
    else:
        rows = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
        vectors, ids = np.array([row["vector"] for row in rows]), [row["id"] for row in rows]
    assert ids == table["id"]
    assert vectors.shape == (6, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors, table["vector"], atol=1e-7)


def test_wrong_calls_are_refused(folder: Path, tmp_path: Path, tiny_artifact: Path) -> None:
    config = EmbedConfig()
    for inputs, output, match in [
        ([tmp_path / "nowhere"], "a.parquet", "no such file"),
        ([folder, folder / "note.txt"], "a.parquet", "two inputs have the id"),
        ([folder], "a.csv", r"must end in one of \.parquet"),
    ]:
        with pytest.raises((DataError, ConfigError), match=match):
            run(config, inputs=inputs, model=tiny_artifact, output=tmp_path / output)
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="nothing to embed"):
        run(config, inputs=[tmp_path / "void"], model=tiny_artifact, output=tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="trained prefixes"):
        embed(folder, tmp_path / "a.parquet", tiny_artifact, dimension=100_000)


@pytest.mark.parametrize("suffix", [".parquet", ".npy", ".jsonl"])
@pytest.mark.parametrize("dtype", ["int8", "ubinary"])
def test_codes_are_written_as_such_and_need_a_calibrated_model(
    folder: Path, tmp_path: Path, tiny_artifact: Path, dtype: str, suffix: str
) -> None:
    from model.quantize import NUMPY_DTYPES, calibrate, save_quantizer
    from model.unified.storage import clone_artifact

    encoder = load_encoder(tiny_artifact)
    contents = [Content.of(word) for word in ("a cat", "a dog", "rain", "the sea")]
    quantizer = calibrate(encode_contents(encoder, contents, desc=""), encoder.dimensions)
    model, size = tmp_path / "model", encoder.dimensions[-1]
    clone_artifact(tiny_artifact, model)
    save_quantizer(quantizer, model, {})
    lines = tmp_path / "cat.jsonl"
    lines.write_text(json.dumps({"id": "cat", "text": "a cat"}) + "\n")
    settings = EmbedConfig.parse({"output_dtype": dtype, "dimension": size})
    out = tmp_path / f"codes{suffix}"
    run(settings, inputs=[lines], model=model, output=out)
    expected = quantizer(encode_contents(encoder, contents[:1], dimension=size, desc=""), dtype)[0]
    if suffix == ".npy":
        found = np.load(out)[0]
        assert found.dtype == np.dtype(NUMPY_DTYPES[dtype])
    elif suffix == ".jsonl":
        found = np.array(json.loads(out.read_text())["vector"])
    else:
        table = pq.read_table(out)
        assert str(table.schema.field("vector").type.value_type) == ("int8" if dtype == "int8" else "uint8")
        found = np.array(table["vector"][0].as_py())
    np.testing.assert_array_equal(found, expected)
    if dtype == "int8":
        with pytest.raises(ConfigError, match="no calibrated ranges"):
            run(settings, inputs=[lines], model=tiny_artifact, output=tmp_path / f"refused{suffix}")

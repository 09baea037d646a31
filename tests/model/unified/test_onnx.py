"""ONNX == torch for every kind of content, with other batch sizes and lengths than those of the export."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from model.artifact import load_encoder
from model.content import Content, audio, document, image, video
from model.encoding import encode_contents
from model.errors import ArtifactError
from model.processor import adds_in_32_bits
from model.unified.onnx_export import _out_of_place, export_onnx
from model.unified.onnx_int8 import after_gelu, quantize_graphs
from tests.conftest import make_mp4, make_ogg, make_png


@pytest.fixture(scope="module")
def exported(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model.unified.storage import clone_artifact

    target = tmp_path_factory.mktemp("onnx") / "artifact"
    clone_artifact(tiny_artifact, target)
    config = json.loads((target / "config.json").read_text())
    config["video"] |= {"stills": 1}  # a clip then goes through two graphs
    (target / "config.json").write_text(json.dumps(config))
    export_onnx(load_encoder(target), target / "onnx")  # type: ignore[arg-type]
    return target


@pytest.mark.timeout(180)
def test_onnx_equals_torch(exported: Path, pdf_bytes: bytes) -> None:
    contents = [
        Content.of("one"),
        Content.of("a longer text with more words in it", task="query"),
        *(Content.of(image(make_png(i))) for i in range(3)),
        Content.of(audio(make_ogg(1, 0.3))),
        Content.of(audio(make_ogg(2, 7.2))),
        Content.of(video(make_mp4(1, frames=3)), "backwards"),
        Content.of(document(pdf_bytes)),
        Content.of("of pages", document(pdf_bytes), audio(make_ogg(4, 0.7))),
        Content.of("mixed", image(make_png(5)), audio(make_ogg(3)), video(make_mp4(2)), "end"),
    ]
    torch_vectors = encode_contents(load_encoder(exported), contents, desc="")
    onnx_vectors = encode_contents(load_encoder(exported, backend="onnx"), contents, desc="")
    assert (torch_vectors * onnx_vectors).sum(1).min() > 0.99999
    assert (torch_vectors @ torch_vectors.T).min() < 0.99, "all vectors are alike: the comparison would prove nothing"


def test_graphs_are_valid_and_take_any_batch_and_length(exported: Path) -> None:
    import onnx

    names = {"table", "trunk", "image", "video", "audio"}
    assert {path.stem for path in (exported / "onnx").glob("*.onnx")} == names
    for name in names:
        path = exported / "onnx" / f"{name}.onnx"
        onnx.checker.check_model(str(path), full_check=True)
        for value in onnx.load(path).graph.input:
            free = [axis for axis, size in enumerate(value.type.tensor_type.shape.dim) if size.dim_param]
            assert free[0] == 0, f"{name}: the batch of {value.name} is fixed"
            assert name not in ("table", "trunk") or free == [0, 1]
    torch_form, onnx_form = load_encoder(exported), load_encoder(exported, backend="onnx")
    longest = Content.of(*["word " * 100] * 3, "x" * 126)
    assert sum(torch_form.count_tokens(longest).values()) == torch_form.limits.max_tokens
    for contents in ([longest], [Content.of("")], [Content.of(image(make_png(1)))] * 9, [longest] * 2):
        exact, found = (encode_contents(e, contents, desc="") for e in (torch_form, onnx_form))
        assert (exact * found).sum(1).min() > 0.99999


def test_an_artifact_without_graphs_says_what_to_do(tiny_artifact: Path) -> None:
    with pytest.raises(ArtifactError, match="run the export step"):
        load_encoder(tiny_artifact, backend="onnx")


def products(artifact: Path) -> int:
    """Matrix products of the int8 trunk that are int8."""
    import onnx

    nodes = onnx.load(artifact / "onnx/int8/trunk.onnx").graph.node
    return sum(node.op_type == "MatMulInteger" for node in nodes)


def test_int8_is_close_smaller_and_not_the_same(exported: Path) -> None:
    fp32 = {path.stem: path.stat().st_size for path in (exported / "onnx").glob("*.onnx")}
    contents = [Content.of("one"), Content.of("many more words in it"), Content.of(audio(make_ogg(1, 0.3)))]
    quantize_graphs(exported)
    careful = products(exported)
    sizes = quantize_graphs(exported, contents)
    assert set(sizes) == {"int8/trunk", "int8/audio"}
    assert products(exported) > careful > 0, "contents show the wide channels, so that products behind them can be int8"
    assert sizes["int8/trunk"] < fp32["trunk"]
    exact = encode_contents(load_encoder(exported, backend="onnx"), contents, desc="")
    close = encode_contents(load_encoder(exported, backend="onnx-int8"), contents, desc="")
    cosines = (exact * close).sum(1)
    assert cosines.min() > 0.95
    assert not np.allclose(exact, close, atol=1e-6), "the int8 graphs were not used"


def test_weights_of_all_bits_are_closer_and_refused_where_they_saturate(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [Content.of("one"), Content.of("many more words in it"), Content.of(image(make_png(1)))]
    exact = encode_contents(load_encoder(exported, backend="onnx"), contents, desc="")
    monkeypatch.setattr("model.unified.onnx_runtime.adds_in_32_bits", lambda: True)
    distance = {}
    for bits in (7, 8):
        shutil.copytree(exported, artifact := tmp_path / str(bits))
        quantize_graphs(artifact, contents, weight_bits=bits)
        vectors = encode_contents(load_encoder(artifact, backend="onnx-int8"), contents, desc="")
        distance[bits] = 1 - float((exact * vectors).sum(1).mean())
    if adds_in_32_bits():
        assert distance[8] < distance[7]
    monkeypatch.setattr("model.unified.onnx_runtime.adds_in_32_bits", lambda: False)
    load_encoder(tmp_path / "7", backend="onnx-int8")
    with pytest.raises(ArtifactError, match=r"without VNNI.*int8_weight_bits: 7"):
        load_encoder(tmp_path / "8", backend="onnx-int8")


def test_without_int8_graphs_the_message_says_so(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "plain", ignore=shutil.ignore_patterns("int8"))
    with pytest.raises(ArtifactError, match=r"int8: false.*lose too much.*backend='onnx'"):
        load_encoder(tmp_path / "plain", backend="onnx-int8")


def test_products_after_a_gelu_are_found(exported: Path) -> None:
    import onnx

    graph = onnx.load(exported / "onnx" / "trunk.onnx")
    layers = sum(node.op_type == "Gelu" for node in graph.graph.node)
    assert len(after_gelu(graph)) == layers > 0


def test_activations_are_in_place_again_after_the_export(tiny_encoder) -> None:
    inplace = [m for m in tiny_encoder.modules() if getattr(m, "inplace", False)]
    assert inplace
    with _out_of_place(tiny_encoder):
        assert not any(m.inplace for m in inplace)
    assert all(m.inplace for m in inplace)


def test_graphs_name_no_file_of_this_machine(exported: Path) -> None:
    from model.unified.onnx_export import _graphs, to_onnx

    table = to_onnx(_graphs(load_encoder(exported))["table"]())  # type: ignore[arg-type]
    assert ".py" in str([node.metadata_props for node in table.model.graph]), "vacuous: nothing to remove"
    for path in (exported / "onnx").glob("*.onnx"):
        assert b".py" not in path.read_bytes(), f"{path.name} holds lines of code with their files"

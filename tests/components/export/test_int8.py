"""What int8 graphs cost is measured and written down; where it is too much there are none."""

from pathlib import Path

import numpy as np
import pytest

from components.export.card import model_card
from components.export.int8 import export_int8, ndcg, text_pairs
from data.corpus import Corpus
from model.artifact import load_encoder
from model.content import Content
from model.errors import ArtifactError
from model.unified.onnx_runtime import OnnxInt8UnifiedEncoder


@pytest.fixture(scope="module")
def exported(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model.unified.onnx_export import export_onnx
    from model.unified.storage import clone_artifact

    target = tmp_path_factory.mktemp("int8") / "artifact"
    clone_artifact(tiny_artifact, target)
    text_only = load_encoder(target, modalities=frozenset({"text"}))  # type: ignore[arg-type]
    export_onnx(text_only, target / "onnx")  # type: ignore[arg-type]
    return target


def test_ndcg_of_known_ranks() -> None:
    scores = np.zeros((3, 12), dtype=np.float32)
    scores[0, 4] = 1  # first
    scores[1, [0, 4]] = 2, 1  # second
    scores[2, :11] = 1  # twelfth, beyond the cut
    assert ndcg(scores, np.array([4, 4, 11])) == pytest.approx((1 + 1 / np.log2(3) + 0) / 3)
    assert ndcg(np.zeros((1, 12), dtype=np.float32), np.array([0])) == 0, "a model of equal scores must not win"


def test_pairs_are_texts_with_their_prompts(benchmark_corpus: Path) -> None:
    pairs = text_pairs(Corpus(benchmark_corpus), 3)
    assert set(pairs) == {"bitext", "heading_to_passage", "docstring_to_code"}
    assert all(len(pool) == 3 for pool in pairs.values())
    assert {(q.task, p.task) for pool in pairs.values() for q, p in pool} == {("query", "document")}


@pytest.mark.parametrize("maximum", [0.01, 0.2])
def test_graphs_that_lose_too_much_are_left_out(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], maximum: float
) -> None:
    torch_form = load_encoder(exported)
    fp32 = torch_form  # any encoder whose search is replaced below
    scores = iter((0.9, 0.8))
    with monkeypatch.context() as changed:
        changed.setattr("components.export.int8.search", lambda *_: next(scores))
        changed.setattr("model.artifact.load_encoder", lambda *_, **__: torch_form)
        pairs = {"bitext": [(Content.of("a"), Content.of("b"))]}
        found = export_int8(torch_form, fp32, exported, compared={}, pairs=pairs, maximum_loss=maximum)
    assert found["loss"] == pytest.approx(0.1)
    card = model_card(exported, {}, {}, found)
    assert "bitext 0.9000 -> 0.8000" in card
    if maximum > 0.1:
        assert found["bytes"].keys() == {"int8/trunk"}
        assert "left_out" not in found
        assert OnnxInt8UnifiedEncoder.graph(exported, "trunk").is_file()
        return
    assert found["bytes"] == {}
    for told in (found["left_out"], capsys.readouterr().err, card):
        assert "the int8 graphs lose 0.1000 of nDCG@10 against fp32, the rule is <= 0.01" in told
        assert "int8_weight_bits: 8 loses less" in told
    with pytest.raises(ArtifactError, match="left the int8 graphs out"):
        OnnxInt8UnifiedEncoder.graph(exported, "trunk")

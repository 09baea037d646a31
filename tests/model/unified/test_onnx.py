"""ONNX == torch for every kind of content, with other batch sizes and lengths than those of the export."""

from pathlib import Path

import pytest

from model.artifact import load_encoder
from model.content import Content, audio, image, video
from model.encoding import encode_contents
from model.errors import ArtifactError
from model.unified.onnx_export import export_onnx
from tests.conftest import make_mp4, make_ogg, make_png


@pytest.fixture(scope="module")
def exported(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model.unified.storage import clone_artifact

    target = tmp_path_factory.mktemp("onnx") / "artifact"
    clone_artifact(tiny_artifact, target)
    export_onnx(load_encoder(target), target / "onnx")  # type: ignore[arg-type]
    return target


@pytest.mark.timeout(180)
def test_onnx_equals_torch(exported: Path) -> None:
    contents = [
        Content.of("one"),
        Content.of("a longer text with more words in it", task="query"),
        *(Content.of(image(make_png(i))) for i in range(3)),
        Content.of(audio(make_ogg(1, 0.3))),
        Content.of(audio(make_ogg(2, 7.2))),
        Content.of(video(make_mp4(1, frames=3)), "backwards"),
        Content.of("mixed", image(make_png(5)), audio(make_ogg(3)), video(make_mp4(2)), "end"),
    ]
    torch_vectors = encode_contents(load_encoder(exported), contents, desc="")
    onnx_vectors = encode_contents(load_encoder(exported, backend="onnx"), contents, desc="")
    assert (torch_vectors * onnx_vectors).sum(1).min() > 0.99999
    assert (torch_vectors @ torch_vectors.T).min() < 0.99, "all vectors are alike: the comparison would prove nothing"


def test_an_artifact_without_graphs_says_what_to_do(tiny_artifact: Path) -> None:
    with pytest.raises(ArtifactError, match="run the export step"):
        load_encoder(tiny_artifact, backend="onnx")

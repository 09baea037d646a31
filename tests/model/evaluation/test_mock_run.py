"""mteb's own check of an encoder: its mock tasks in every modality that the model has."""

import os
from pathlib import Path

import pytest

from model.artifact import load_encoder
from model.evaluation.mteb_encoder import MtebEncoder
from tests.model.sentence_transformer.tiny import make


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model.sentence_transformer.build import build_sentence_transformer

    home = tmp_path_factory.mktemp("gemma")
    settings = {"video": "frames", "video_side": 48, "max_frames": 2, "limits": {"max_tokens": 2048}}
    build_sentence_transformer(str(make("gemma2", home / "model")), settings, home=home).save(home / "artifact")
    return home / "artifact"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["unified", pytest.param("sentence_transformer", marks=pytest.mark.minutes)])
def test_mock_run(family: str, tiny_artifact: Path, gemma: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    import mteb

    encoder = load_encoder(tiny_artifact if family == "unified" else gemma)
    found = mteb.mock_run(MtebEncoder(encoder))
    rows = {modality: (status, failed) for status, modality, failed in found.modality_summary()}
    assert found.all_passed, found.to_markdown()
    # Every task ran: none was skipped for want of torchcodec.
    assert all(not failed and status.startswith("✓") for status, failed in rows.values()), rows
    assert set(rows) == {"text", "image", "audio", "video"}

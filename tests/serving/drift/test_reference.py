"""The reference is what a capture would hold for the same contents."""

from pathlib import Path

import numpy as np
import pytest

from model.content import Content, Modality, audio, image
from model.errors import DataError
from serving.drift.reference import build_reference
from serving.drift.window import read_window

CONTENTS = [
    Content.of("hello"),
    Content.of("犬がいる", task="query"),
    Content.of("a", image(b"12345")),
    Content.of(audio(b"1")),
]


class Tokens:
    """Counts one token per text character and seven per media part."""

    def count_tokens(self, content: Content) -> dict[Modality, int]:
        return {p.modality: len(p.text) if p.text is not None else 7 for p in content.parts}


def test_reference_round_trip(tmp_path: Path) -> None:
    vectors = np.eye(4, 8, dtype=np.float32)
    window = read_window(build_reference(CONTENTS, vectors, tmp_path / "new" / "reference.parquet", encoder=Tokens()))
    assert window.kinds_N.tolist() == ["text", "text", "interleaved", "audio"]
    assert window.scripts_N.tolist() == ["Latn", "Jpan", "Latn", "Zyyy"]
    np.testing.assert_array_equal(window.vectors_ND, vectors)
    # parts, text_chars, text_tokens, image_tokens, audio_tokens, video_tokens, media_bytes
    np.testing.assert_allclose(np.expm1(window.features_NF[2]), [2, 1, 1, 7, 0, 0, 5])


def test_tokens_are_unknown_without_an_encoder(tmp_path: Path) -> None:
    window = read_window(build_reference(CONTENTS, np.ones((4, 8), np.float32), tmp_path / "r.parquet"))
    assert np.isnan(window.features_NF[:, 2:6]).all()
    assert not np.isnan(window.features_NF[:, [0, 1, 6]]).any()


@pytest.mark.parametrize("vectors", [np.ones((3, 8)), np.full((4, 8), np.nan)])
def test_vectors_that_do_not_fit_are_refused(vectors: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        build_reference(CONTENTS, vectors.astype(np.float32), tmp_path / "r.parquet")
    assert not list(tmp_path.iterdir())


def test_the_same_contents_give_the_same_file(tmp_path: Path) -> None:
    vectors = np.eye(4, 8, dtype=np.float32)
    first, second = (build_reference(CONTENTS, vectors, tmp_path / name, encoder=Tokens()) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert build_reference(CONTENTS, vectors[::-1], tmp_path / "c").read_bytes() != first.read_bytes()

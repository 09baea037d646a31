"""What mteb's columns hold becomes the bytes that serving would see, with torchcodec and without it."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from model.content import Modality
from model.encoder import Limits
from model.errors import ContentError
from model.evaluation import mteb_media
from model.evaluation.mteb_encoder import contents_of_batch
from model.evaluation.mteb_media import hand_over_stored_media, media_bytes, wav
from model.media.audio import decode_audio

SAMPLES = np.linspace(-0.5, 0.5, 1600, dtype=np.float32)


def decoder(stored: dict, **more: object) -> SimpleNamespace:
    """As datasets makes one: the encoded form lies beside it."""
    return SimpleNamespace(_hf_encoded=stored, **more)


def test_decoders_give_the_bytes_that_they_decode(ogg_bytes: bytes, mp4_bytes: bytes, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(mp4_bytes)
    assert media_bytes(Modality.AUDIO, decoder({"bytes": ogg_bytes, "path": "a.ogg"})) == ogg_bytes
    assert media_bytes(Modality.AUDIO, {"bytes": ogg_bytes, "path": None}) == ogg_bytes
    clip = decoder({"bytes": None, "path": str(tmp_path / "clip.mp4")})
    assert media_bytes(Modality.VIDEO, clip) == mp4_bytes
    (content,) = contents_of_batch({"video": [clip], "text": ["a square"]})
    assert [part.modality for part in content.parts] == [Modality.VIDEO, Modality.TEXT]
    assert content.parts[0].data == mp4_bytes


def test_sound_of_a_foreign_container_comes_as_samples() -> None:
    foreign = {"bytes": b"\0\0\0\x20ftypM4A " + bytes(40), "path": "a.m4a"}
    decoded = SimpleNamespace(data=np.stack([SAMPLES, SAMPLES]), sample_rate=16_000)
    found = media_bytes(Modality.AUDIO, decoder(foreign, get_all_samples=lambda: decoded))
    np.testing.assert_allclose(decode_audio(found, Limits()), SAMPLES, atol=1e-6)
    found = media_bytes(Modality.AUDIO, {"array": SAMPLES, "sampling_rate": 16_000})
    np.testing.assert_allclose(decode_audio(found, Limits()), SAMPLES, atol=1e-6)


def test_pictures_are_kept_without_loss() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    found = media_bytes(Modality.IMAGE, Image.fromarray(pixels))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found))), pixels)


@pytest.mark.parametrize("cell", [3, None, SimpleNamespace(), {"bytes": None, "path": "/nowhere.mp4"}])
def test_other_cells_are_refused(cell: object) -> None:
    with pytest.raises(ContentError, match="give encoded bytes"):
        media_bytes(Modality.VIDEO, cell)


def test_columns_open_without_torchcodec(monkeypatch: pytest.MonkeyPatch, ogg_bytes: bytes, mp4_bytes: bytes) -> None:
    from datasets import Audio, Dataset, Video

    for feature, names in ((Audio, ("decode_example", "encode_example")), (Video, ("decode_example",))):
        for name in names:  # put back after the test
            monkeypatch.setattr(feature, name, getattr(feature, name))
    monkeypatch.setattr(mteb_media, "torchcodec_works", lambda: False)
    hand_over_stored_media()
    cells = {"audio": [{"array": SAMPLES, "sampling_rate": 16_000}, ogg_bytes, {"bytes": ogg_bytes, "path": None}]}
    rows = Dataset.from_dict({"audio": [Audio().encode_example(c) for c in cells["audio"]], "video": [mp4_bytes] * 3})
    rows = rows.cast_column("audio", Audio()).cast_column("video", Video())
    assert media_bytes(Modality.AUDIO, rows[0]["audio"]) == wav(SAMPLES, 16_000)
    assert media_bytes(Modality.AUDIO, rows[1]["audio"]) == media_bytes(Modality.AUDIO, rows[2]["audio"]) == ogg_bytes
    assert media_bytes(Modality.VIDEO, rows[2]["video"]) == mp4_bytes
    assert Audio().encode_example("a.wav") == {"bytes": None, "path": "a.wav"}
    with pytest.raises(ValueError, match="needs bytes, a path or samples"):
        Audio().encode_example(3)

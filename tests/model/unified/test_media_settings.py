"""Settings of the encoder that change what is read of a content: frame rate, sound of clips, length of texts."""

import io
from pathlib import Path

import av
import numpy as np
import pytest

from model.content import Content, Modality, video
from model.encoding import encode_contents
from model.errors import ContentError
from model.unified.build import build_encoder
from model.weights.random import random_weights
from model.weights.store import WeightPaths
from tests.conftest import make_mp4

RATE = 16_000


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> WeightPaths:
    return random_weights(tmp_path_factory.mktemp("weights"))


def clip(hertz: float | None) -> Content:
    """1.5 s of equal pictures with a tone, or without sound."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        pictures = container.add_stream("mpeg4", rate=8)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono") if hertz else None
        packets = []
        for i in range(12):
            square = np.full((64, 64, 3), 20 * i, dtype=np.uint8)
            packets += pictures.encode(av.VideoFrame.from_ndarray(square, format="rgb24"))
        packets += pictures.encode()
        if sound:
            wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(RATE * 3 // 2) / RATE)
            frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
            frame.sample_rate = RATE
            packets += [*sound.encode(frame), *sound.encode()]
        for packet in packets:
            container.mux(packet)
    return Content.of(video(buffer.getvalue()))


def embed(encoder, *contents: Content) -> np.ndarray:
    return encode_contents(encoder, contents, desc="")


def test_a_frame_rate_gives_short_clips_fewer_frames_and_no_clip_more(weights: WeightPaths) -> None:
    content = Content.of(video(make_mp4(1)))  # 12 frames at 8 a second
    tokens = {
        rate: build_encoder(weights, {"video": {"frames_per_second": rate, "max_frames": 8}}, source="random")
        .count_tokens(content)
        .get(Modality.VIDEO)
        for rate in (None, 2.0, 100.0)
    }
    assert tokens == {None: 8, 2.0: 3, 100.0: 8}


def test_the_sound_of_a_clip_counts_when_asked_for_and_only_then(weights: WeightPaths) -> None:
    low, high = clip(200), clip(3_000)
    deaf = build_encoder(weights, {"video": {"audio_track": False}}, source="random")
    hearing = build_encoder(weights, {"video": {"audio_track": True}}, source="random")
    np.testing.assert_allclose(*embed(deaf, low, high), atol=1e-6)
    assert np.abs(np.subtract(*embed(hearing, low, high))).max() > 1e-5
    assert sum(hearing.count_tokens(low).values()) > sum(deaf.count_tokens(low).values())


def test_a_clip_without_sound_is_its_pictures(weights: WeightPaths) -> None:
    deaf, hearing = (
        build_encoder(weights, {"video": {"audio_track": track}}, source="random", seed=1) for track in (False, True)
    )
    hearing.load_state_dict(deaf.state_dict(), strict=False)
    np.testing.assert_allclose(embed(deaf, clip(None)), embed(hearing, clip(None)), atol=1e-6)


def test_a_long_text_is_cut_at_its_end_or_refused(weights: WeightPaths) -> None:
    long, other = "one two " * 200, "one two " * 150 + "three " * 100
    cutting = build_encoder(weights, {"truncate": "end"}, source="random")
    np.testing.assert_allclose(*embed(cutting, Content.of(long), Content.of(other)), atol=1e-6)
    assert np.abs(np.subtract(*embed(cutting, Content.of(long), Content.of("three " * 300)))).max() > 1e-5
    refusing = build_encoder(weights, {"truncate": "error"}, source="random")
    with pytest.raises(ContentError, match="more than max_text_tokens=128") as caught:
        embed(refusing, Content.of(long))
    assert caught.value.code == "text_too_long"
    embed(refusing, Content.of("one two"))


def test_settings_survive_in_the_artifact(weights: WeightPaths, tmp_path: Path) -> None:
    from model.artifact import load_encoder

    settings = {"video": {"audio_track": True, "frames_per_second": 2.0}, "truncate": "error"}
    encoder = build_encoder(weights, settings, source="random")
    encoder.save(tmp_path / "artifact")
    again = load_encoder(tmp_path / "artifact")
    np.testing.assert_allclose(embed(encoder, clip(440)), embed(again, clip(440)), atol=1e-6)
    assert again.config.video == encoder.config.video
    assert again.config.truncate == "error"

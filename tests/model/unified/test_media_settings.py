"""Settings of the encoder that change what is read of a content: frame rate, sound of clips, length of texts."""

import io
from pathlib import Path

import av
import numpy as np
import pytest

from model.content import Content, Modality, image, video
from model.encoding import encode_contents
from model.errors import CapabilityError, ContentError
from model.features import FeatureStore, build_features
from model.media.ffmpeg import read_clip
from model.media.video import pictures_at, spread, times_of_frames
from model.unified.build import build_encoder
from model.weights.random import random_weights
from model.weights.store import WeightPaths
from tests.conftest import encoded, make_mp4, make_png

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


def test_a_still_is_that_frame_as_a_picture_behind_the_clip(weights: WeightPaths) -> None:
    """Also of a clip with sound: frames, stills, sound."""
    plain, told = (build_encoder(weights, {"video": {"stills": stills}}, source="random", seed=1) for stills in (0, 2))
    seen, found = clip(None), read_clip(clip(None).parts[0].data or b"", plain.limits)
    times = times_of_frames(found, plain.config.video.max_frames, None)
    frames = [image(encoded(picture)) for picture in pictures_at(found, plain.limits, times)]
    assert spread(2, len(frames)) == [2, 6]
    with_pictures = Content.of(*seen.parts, frames[2], frames[6])
    np.testing.assert_allclose(embed(told, seen), embed(plain, with_pictures), atol=1e-6)
    for other in (Content.of(*seen.parts, frames[0], frames[7]), seen):
        assert np.abs(embed(told, seen) - embed(plain, other)).max() > 1e-5
    assert told.count_tokens(seen)[Modality.VIDEO] == len(frames) + 2
    hearing = build_encoder(weights, {"video": {"stills": 2, "audio_track": True}}, source="random", seed=1)
    towers = [unit.tower for unit in hearing.preprocessor.reader.units(clip(200).parts[0])]
    assert towers == ["video"] * 8 + ["image"] * 2 + ["audio"]


def test_stored_features_of_stills_and_sound_equal_live_towers(weights: WeightPaths, tmp_path: Path) -> None:
    settings = {"video": {"stills": 2, "audio_track": True}}
    encoder = build_encoder(weights, settings, source="random")
    contents = [clip(300), clip(None), Content.of("before", *clip(3_000).parts)]
    live = embed(encoder, *contents)
    tokens = [encoder.count_tokens(content) for content in contents]
    clips = [content.parts[-1] for content in contents]
    assert build_features(encoder, clips, tmp_path / "store") == len(clips)
    encoder.use_features(FeatureStore.open(tmp_path / "store"))
    assert not any(m.calls for m in encoder.preprocess(contents).media.values()), "the towers ran all the same"
    assert [encoder.count_tokens(content) for content in contents] == tokens
    assert (embed(encoder, *contents) * live).sum(1).min() > 0.99999  # half precision in the store


def test_stills_need_the_projector_of_pictures_alone_too(weights: WeightPaths, tmp_path: Path) -> None:
    from model.artifact import load_encoder

    encoder = build_encoder(weights, {"video": {"stills": 1}}, source="random")
    encoder.save(tmp_path / "artifact")
    clips_only = load_encoder(tmp_path / "artifact", modalities=frozenset({Modality.VIDEO}))
    np.testing.assert_allclose(embed(encoder, clip(None)), embed(clips_only, clip(None)), atol=1e-6)
    with pytest.raises(CapabilityError):
        embed(clips_only, Content.of(image(make_png(1))))


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

    settings = {"video": {"audio_track": True, "frames_per_second": 2.0, "stills": 1}, "truncate": "error"}
    encoder = build_encoder(weights, settings, source="random")
    encoder.save(tmp_path / "artifact")
    again = load_encoder(tmp_path / "artifact")
    np.testing.assert_allclose(embed(encoder, clip(440)), embed(again, clip(440)), atol=1e-6)
    assert again.config.video == encoder.config.video
    assert again.config.truncate == "error"

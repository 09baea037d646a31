import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from model.encoder import Limits
from model.errors import ContentError
from model.media.audio import SAMPLE_RATE, audio_seconds, decode_audio

LIMITS = Limits()
FORMATS = [
    ("WAV", "PCM_16", 0.002),
    ("WAV", "FLOAT", 0.001),
    ("FLAC", "PCM_16", 0.002),
    ("OGG", "VORBIS", 0.05),
    ("OGG", "OPUS", 0.05),
    ("MP3", "MPEG_LAYER_III", 0.05),
]


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encode(wave: np.ndarray, rate: int = 48_000, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "subtype", "tolerance"), FORMATS)
def test_every_format_gives_the_same_sound(kind: str, subtype: str, tolerance: float) -> None:
    wave = decode_audio(encode(tone(1.0, 48_000), 48_000, kind, subtype), LIMITS)
    assert wave.dtype == np.float32
    assert wave.shape == (SAMPLE_RATE,)
    inner = slice(4000, 12_000)  # away from the edges that codecs fade
    np.testing.assert_allclose(wave[inner], tone(1.0, SAMPLE_RATE)[inner], atol=tolerance)


def test_channels_are_mixed_to_mono() -> None:
    left = tone(0.5, SAMPLE_RATE)
    wave = decode_audio(encode(np.stack([left, -0.5 * left], axis=1), SAMPLE_RATE), LIMITS)
    np.testing.assert_allclose(wave, 0.25 * left, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(frames=st.integers(1, 30_000), rate=st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]))
def test_the_header_tells_the_exact_length_after_decoding(frames: int, rate: int) -> None:
    data = encode(np.zeros(frames, dtype=np.float32), rate)
    assert len(decode_audio(data, LIMITS)) == round(audio_seconds(data, LIMITS) * SAMPLE_RATE)


@pytest.mark.parametrize(("kind", "subtype", "_"), FORMATS)
def test_a_cut_file_is_refused_wherever_it_is_cut(kind: str, subtype: str, _: float) -> None:
    data = encode(np.stack([tone(1.0, 48_000)] * 2, axis=1), 48_000, kind, subtype)
    decode_audio(data, LIMITS)
    for length in range(0, len(data), max(1, len(data) // 40)):
        with pytest.raises(ContentError) as caught:
            decode_audio(data[:length], LIMITS)
        assert caught.value.code in {"audio_truncated", "audio_undecodable", "audio_unsupported"}


def test_seconds_are_limited_by_the_header_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(tone(2.0, 16_000), 16_000)
    decode_audio(data, Limits(max_audio_seconds=2.0))
    monkeypatch.setattr(soundfile.SoundFile, "blocks", lambda *_, **__: pytest.fail("samples were decoded"))
    with pytest.raises(ContentError, match=r"2\.0 s") as caught:
        decode_audio(data, Limits(max_audio_seconds=1.9))
    assert (caught.value.code, caught.value.limit) == ("audio_too_long", "max_audio_seconds")


def test_a_wav_with_a_streamed_size_is_taken_as_it_is() -> None:
    data = bytearray(encode(tone(0.5, 16_000), 16_000))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert len(decode_audio(bytes(data), LIMITS)) == 8000


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(bad: float) -> None:
    wave = tone(0.1, 16_000)
    wave[7] = bad
    with pytest.raises(ContentError) as caught:
        decode_audio(encode(wave, 16_000, "WAV", "FLOAT"), LIMITS)
    assert caught.value.code == "audio_not_finite"


def test_empty_sound_is_refused() -> None:
    with pytest.raises(ContentError) as caught:
        decode_audio(encode(np.zeros(0, dtype=np.float32), 16_000), LIMITS)
    assert caught.value.code == "audio_empty"


@pytest.mark.parametrize("rate", [0, 1, 2_000_000_000])
def test_an_impossible_sample_rate_is_refused(rate: int) -> None:
    data = bytearray(encode(tone(0.1, 16_000), 16_000))
    data[24:28] = rate.to_bytes(4, "little")
    with pytest.raises(ContentError) as caught:
        decode_audio(bytes(data), LIMITS)
    assert caught.value.code == "audio_undecodable"


@settings(max_examples=60, deadline=None)
@given(
    tail=st.binary(max_size=300), magic=st.sampled_from([b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"RIFF\0\0\0\0WAVE"])
)
def test_garbage_never_raises_anything_else(tail: bytes, magic: bytes) -> None:
    with pytest.raises(ContentError):
        decode_audio(magic + tail, LIMITS)


def test_threads_do_not_disturb_each_other(ogg_bytes: bytes) -> None:
    expected = decode_audio(ogg_bytes, LIMITS)
    with ThreadPoolExecutor(4) as pool:
        for wave in pool.map(lambda _: decode_audio(ogg_bytes, LIMITS), range(12)):
            np.testing.assert_array_equal(wave, expected)

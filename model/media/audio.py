"""Audio: encoded bytes to mono samples at 16 kHz.

Shape legend: N samples, C channels.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from model.content import Modality
from model.encoder import Limits
from model.errors import ContentError
from model.media.containers import check_container
from model.media.mel import SAMPLE_RATE

RATES = range(1_000, 768_001)
UNKNOWN_FRAMES = 1 << 60  # libsndfile's count where a header tells none
LOUDEST = 2.0**31  # samples of 32 bits that somebody wrote as floats without scaling them
BLOCK_SAMPLES = 262_144  # of all channels together: libsndfile opens files of a thousand channels


def decode_audio(data: bytes, limits: Limits) -> NDArray[np.float32]:
    """Decode a WAV, FLAC, Ogg (Vorbis, Opus) or MP3, mix it to mono and resample it to 16 kHz.

    Returns:
        float32 array of shape [N], full scale is -1..1.

    Raises:
        ContentError: ``audio_unsupported``, ``audio_too_large``, ``audio_too_long`` (before decoding),
            ``audio_truncated``, ``audio_empty``, ``audio_not_finite`` or ``audio_undecodable``.
    """
    container = check_container(data, Modality.AUDIO, limits)
    with _opened(data, container) as file:
        wave_N, rate = _read(file, limits), file.samplerate
        expected = file.frames
    if len(wave_N) < expected:
        raise ContentError(
            f"the audio ({container}) ends after {len(wave_N)} of {expected} frames: send it whole",
            code="audio_truncated",
        )
    return at_16_khz(wave_N, rate, expected)


def audio_seconds(data: bytes, limits: Limits) -> float:
    """Duration in seconds from the header alone; ``round(16_000 * seconds)`` is the length after decoding.

    Raises:
        ContentError: as :func:`decode_audio`, as far as the header tells.
    """
    with _opened(data, check_container(data, Modality.AUDIO, limits)) as file:
        _check_header(file, limits)
        return float(file.frames / file.samplerate)


def at_16_khz(wave_N: NDArray[np.float32], rate: int, frames: int) -> NDArray[np.float32]:
    """Resample mono samples at ``rate``; ``frames`` of them decide the length of the result.

    Raises:
        ContentError: ``audio_not_finite``.
    """
    if not (np.abs(wave_N) <= LOUDEST).all():  # also false for NaN; beyond it arithmetic overflows further on
        raise ContentError(
            f"the audio holds NaN, infinite samples or samples above {LOUDEST:g}: encode it anew",
            code="audio_not_finite",
        )
    resampled_N = wave_N if rate == SAMPLE_RATE else soxr.resample(wave_N, rate, SAMPLE_RATE)
    # Exactly the length that `audio_seconds` announces, so that tokens counted from the header are the tokens made.
    exact_N = np.zeros(round(frames / rate * SAMPLE_RATE), dtype=np.float32)
    used = min(len(exact_N), len(resampled_N))
    exact_N[:used] = resampled_N[:used]
    return exact_N


@contextmanager
def _opened(data: bytes, container: str) -> Iterator[soundfile.SoundFile]:
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            yield file
    except soundfile.LibsndfileError as error:
        raise ContentError(
            f"the audio ({container}, {len(data)} bytes) cannot be decoded: {error.error_string}; encode it anew",
            code="audio_undecodable",
        ) from error


def _check_header(file: soundfile.SoundFile, limits: Limits) -> None:
    if file.samplerate not in RATES:
        raise ContentError(
            f"the audio has a sample rate of {file.samplerate} Hz; accepted are {RATES[0]} to {RATES[-1]} Hz",
            code="audio_undecodable",
        )
    if file.frames >= UNKNOWN_FRAMES:
        raise ContentError(
            "the audio does not tell its length (an encoder wrote it into a pipe): encode it anew into a file",
            code="audio_undecodable",
        )
    if file.frames == 0:
        raise ContentError("the audio holds no samples: send at least some milliseconds", code="audio_empty")
    _check_length(file.frames, file.samplerate, limits)


def _read(file: soundfile.SoundFile, limits: Limits) -> NDArray[np.float32]:
    _check_header(file, limits)
    blocks, total = [], 0
    # The header may lie, so the bound holds for what is decoded too; mixing by block keeps many channels cheap.
    for block_NC in file.blocks(max(1, BLOCK_SAMPLES // file.channels), dtype="float32", always_2d=True):
        blocks.append(block_NC.mean(axis=1, dtype=np.float32))
        total += len(block_NC)
        _check_length(total, file.samplerate, limits)
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)


def _check_length(frames: int, rate: int, limits: Limits) -> None:
    if frames > limits.max_audio_seconds * rate:
        raise ContentError(
            f"the audio lasts {frames / rate:.1f} s or more; at most {limits.max_audio_seconds:g} s are accepted: "
            "cut it into pieces",
            code="audio_too_long",
            limit="max_audio_seconds",
        )

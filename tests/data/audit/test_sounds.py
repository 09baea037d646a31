"""Two sounds laid over each other: a shift by any part of a frame, gain and codec do not count; what is said does."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.audit.rules import MediaRules
from data.audit.sounds import _whole_frames, sound_distance, spectra
from model.encoder import Limits
from model.media.audio import decode_audio
from tests.data.audit.planting import RATE, sound

Wave = NDArray[np.float32]
LEAST = MediaRules().sound
VOICE = 100  # pulses a second: one for each frame, which is where half a frame counts most


def syllable(rng: np.random.Generator) -> Wave:
    """Pulses in a throat of three resonances, that fade in and out."""
    length = int(rng.integers(2000, 4000))
    pulses = np.zeros(length)
    pulses[:: RATE // VOICE] = 1.0
    time = np.arange(400) / RATE
    throat = sum(np.exp(-time * 2 * np.pi * 90) * np.sin(2 * np.pi * rng.uniform(*band) * time) for band in FORMANTS)
    found: Wave = (np.convolve(pulses, throat)[:length] * np.hanning(length)).astype(np.float32)
    return found


FORMANTS = ((250, 900), (900, 2300), (2300, 3400))


def speech(seed: int) -> Wave:
    """Ten syllables of a low voice."""
    wave = np.concatenate([syllable(np.random.default_rng((seed, place))) for place in range(10)])
    found: Wave = 0.5 * wave / np.abs(wave).max()
    return found


def late(wave: Wave, samples: int) -> Wave:
    return np.concatenate([np.zeros(samples, np.float32), wave])


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), samples=st.integers(0, 6000), swapped=st.booleans())
def test_a_shift_by_any_number_of_samples_is_no_difference(seed: int, samples: int, swapped: bool) -> None:
    sides = [spectra(speech(seed)), spectra(late(speech(seed), samples))]
    assert sound_distance(*(sides[::-1] if swapped else sides)) < LEAST / 2


def test_whole_frames_alone_would_not_do() -> None:
    for seed in range(3):
        halves = [spectra(speech(seed)), spectra(late(speech(seed), 1680))]
        assert _whole_frames(*(pictures_MT[0].astype(np.float32) for pictures_MT in halves)) > LEAST / 2
        assert sound_distance(*halves) < LEAST / 10


def test_codec_gain_and_shift_together() -> None:
    for seed in range(3):
        changed = decode_audio(sound(0.3 * late(speech(seed), 1234), "OGG", "OPUS"), Limits())
        assert sound_distance(spectra(speech(seed)), spectra(changed)) < LEAST


def test_others_are_far_apart() -> None:
    of = [spectra(speech(n)) for n in range(6)]
    assert min(sound_distance(of[a], of[b]) for a in range(6) for b in range(a)) > 2 * LEAST

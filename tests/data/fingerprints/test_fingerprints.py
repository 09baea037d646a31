"""Words stay nearly the same when an item is encoded anew, and far apart for another item."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.fingerprints import clip_hashes, page_hashes, picture_hash, picture_hashes, sound_hashes
from data.fingerprints.text import normal_text, shingles, similarity, similarity_word, text_hash
from data.fingerprints.units import SIGNATURE_BYTES, SIGNATURE_WORDS, split_units, unit_words
from model.encoder import Limits
from model.errors import DataError
from model.media.document import Page
from model.media.image import decode_image
from tests.data.audit.planting import drawing, encoded, melody, pictures, sentence

LIMITS = Limits()
NEAR, FAR = 11, 14


def apart(first: int, second: int) -> int:
    return (first ^ second).bit_count()


def pixels(data: bytes) -> np.ndarray:
    return decode_image(data, LIMITS, size=64)


@pytest.mark.parametrize("seed", range(6))
def test_pictures_encoded_anew_are_near_and_others_far(seed: int) -> None:
    own = picture_hash(pixels(encoded(drawing(seed))))
    for how, data in pictures(seed).items():
        assert apart(own, picture_hash(pixels(data))) <= NEAR, how
    assert apart(own, picture_hash(pixels(encoded(drawing(seed + 50))))) > FAR


@given(level=st.integers(0, 255), noise=st.integers(0, 1), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_flat_pictures_are_the_word_zero(level: int, noise: int, seed: int) -> None:
    rough = np.random.default_rng(seed).integers(0, noise + 1, (40, 30, 1))
    picture = np.clip(level + rough, 0, 255).astype(np.uint8).repeat(3, axis=2)
    assert picture_hash(picture) == 0


@pytest.mark.parametrize("seconds", [0.4, 2.0, 6.02, 13.0])
def test_sounds_keep_their_words_under_gain_and_leading_silence(seconds: float) -> None:
    wave = melody(3, seconds)
    own = split_units("audio", sound_hashes(wave)).search_US[:, 0].tolist()
    for other in (wave * 0.2, np.concatenate([np.zeros(800, np.float32), wave])):
        words = split_units("audio", sound_hashes(other)).search_US[:, 0].tolist()
        assert min(apart(a, b) for a in own for b in words) <= NEAR
    another = split_units("audio", sound_hashes(melody(4, seconds))).search_US[:, 0].tolist()
    assert min(apart(a, b) for a in own for b in another) > NEAR


@pytest.mark.parametrize("samples", [0, 1, 100])
def test_silence_and_scraps_of_sound_have_words(samples: int) -> None:
    assert len(sound_hashes(np.zeros(samples, np.float32))) == 1 + SIGNATURE_WORDS


def test_pages_have_a_word_for_looks_and_one_for_text() -> None:
    page = pixels(encoded(drawing(1)))
    units = split_units("document", page_hashes([Page(page, sentence(1)), Page(page, ""), Page(None, sentence(2))]))
    looks, text = units.search_US[:, 0].tolist(), units.search_US[:, 1].tolist()
    assert looks == [picture_hash(page), picture_hash(page), 0]
    assert text == [similarity_word(sentence(1)), 0, similarity_word(sentence(2))]


def test_clips_are_their_frames_in_order() -> None:
    frames = [pixels(encoded(drawing(seed))) for seed in range(3)]
    assert clip_hashes(frames) == tuple(word for frame in frames for word in picture_hashes(frame))


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=2), st.binary(min_size=192, max_size=192))
def test_units_come_apart_as_they_were_made(search: list[int], signature: bytes) -> None:
    words = unit_words(search, np.frombuffer(signature, np.uint8))
    units = split_units("document" if len(search) == 2 else "image", words * 2)
    assert units.search_US.tolist() == [search, search]
    assert units.signature_UB.tobytes() == signature * 2
    assert units.signature_UB.shape == (2, SIGNATURE_BYTES)


def test_words_that_fit_no_modality_are_refused() -> None:
    with pytest.raises(DataError, match="no multiple"):
        split_units("image", (1, 2, 3))
    with pytest.raises(DataError, match="no fingerprint"):
        split_units("smell", ())


@given(st.text())
def test_the_normal_form_of_a_normal_form_is_itself(said: str) -> None:
    normal = normal_text(said)
    assert normal_text(normal) == normal
    assert text_hash(normal) == text_hash(normal_text(said.replace(" ", "  ")))


def test_texts_that_look_alike_are_alike() -> None:
    assert normal_text("It’s “Fine” — OK?") == normal_text('it\'s "fine" ok')
    assert normal_text("x < 5") != normal_text("x > 5"), "signs that carry meaning stay"
    assert normal_text("ガス") == normal_text("ｶﾞｽ")
    said = normal_text(sentence(1))
    assert similarity(said, said) == 1
    assert similarity(said, said.rsplit(" ", 1)[0]) > 0.9
    assert similarity(said, normal_text(sentence(2))) < 0.2
    assert shingles("one") == {"one"}
    assert apart(similarity_word(sentence(1)), similarity_word(sentence(1).upper())) == 0
    assert apart(similarity_word(sentence(1)), similarity_word(sentence(2))) > NEAR

"""Probes measure good media and name what is wrong with bad ones; they never raise."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from data.probes import probe_all, probe_media
from model.content import media_digest
from model.encoder import Limits

LIMITS = Limits()


def probe(modality: str, data: bytes):
    return probe_media(media_digest(data), modality, data, LIMITS)


def flat_png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "white").save(buffer, "PNG")
    return buffer.getvalue()


def silence() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(8_000, np.float32), 16_000, format="WAV")
    return buffer.getvalue()


def test_good_media_are_measured(png_bytes: bytes, ogg_bytes: bytes, mp4_bytes: bytes) -> None:
    image, sound, clip = probe("image", png_bytes), probe("audio", ogg_bytes), probe("video", mp4_bytes)
    assert (image.code, image.container, image.pixels, image.blank) == (None, "png", 48 * 32, False)
    assert (sound.code, sound.container, sound.rate, sound.channels) == (None, "ogg", 16_000, 1)
    assert sound.seconds == pytest.approx(1.3, abs=0.01)
    assert (clip.code, clip.container, clip.frames, clip.blank) == (None, "mp4", 12, False)


@pytest.mark.parametrize(
    ("modality", "damage", "code"),
    [
        ("image", lambda m: m["image"][: len(m["image"]) // 2], "image_truncated"),
        ("image", lambda m: b"not an image at all", "image_unsupported"),
        ("image", lambda m: m["audio"], "image_unsupported"),
        ("audio", lambda m: m["audio"][: len(m["audio"]) // 2], "audio_truncated"),
        ("audio", lambda m: silence(), "audio_silent"),
        ("video", lambda m: m["video"][:-100], "video_truncated"),
        ("document", lambda m: b"%PDF-1.7", "document_truncated"),
        ("hologram", lambda m: m["image"], "media_modality_unknown"),
        ("audio", lambda m: b"", "audio_unsupported"),
    ],
)
def test_bad_media_have_a_reason(
    modality: str, damage, code: str, png_bytes: bytes, ogg_bytes: bytes, mp4_bytes: bytes
) -> None:
    media = {"image": png_bytes, "audio": ogg_bytes, "video": mp4_bytes}
    assert probe(modality, damage(media)).code == code


def test_a_digest_of_other_bytes_is_found(png_bytes: bytes) -> None:
    assert probe_media("0" * 32, "image", png_bytes, LIMITS).code == "media_digest_mismatch"


def test_flat_pictures_are_reported_and_usable() -> None:
    found = probe("image", flat_png())
    assert found.blank
    assert found.code is None


def test_order_is_kept(png_bytes: bytes, ogg_bytes: bytes) -> None:
    items = [(media_digest(d), m, d) for m, d in (("audio", ogg_bytes), ("image", png_bytes)) * 5]
    assert [p.modality for p in probe_all(items, LIMITS)] == ["audio", "image"] * 5

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.encoder import Limits
from model.errors import ContentError
from model.media.image import decode_image
from tests.conftest import encoded

LIMITS = Limits()
RED, BLUE = (255, 0, 0), (0, 0, 255)


def noise(width: int = 60, height: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def halves() -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", (64, 64), RED)
    image.paste(BLUE, (32, 0, 64, 64))
    return image


@pytest.mark.parametrize(("kind", "tolerance"), [("PNG", 0), ("GIF", 0), ("WEBP", 12), ("JPEG", 12)])
def test_every_format_gives_the_same_picture(kind: str, tolerance: int) -> None:
    pixels = decode_image(encoded(halves(), kind), LIMITS, size=64)
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels[32, 8], RED, atol=tolerance)
    np.testing.assert_allclose(pixels[32, 56], BLUE, atol=tolerance)


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 400), height=st.integers(1, 400), size=st.sampled_from([16, 33, 96]))
def test_any_aspect_ratio_is_fitted_without_distortion(width: int, height: int, size: int) -> None:
    pixels = decode_image(encoded(Image.new("RGB", (width, height), RED), "PNG"), LIMITS, size=size)
    assert pixels.shape == (size, size, 3)
    red = np.argwhere((pixels == RED).all(axis=2))
    rows, columns = np.ptp(red, axis=0) + 1
    assert max(rows, columns) == size
    assert abs(columns - size * min(1.0, width / height)) <= 1
    assert abs(rows - size * min(1.0, height / width)) <= 1
    outside = np.ones((size, size), dtype=bool)
    outside[tuple(red.T)] = False
    assert (pixels[outside] == 255).all()


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to show
    pixels = decode_image(encoded(halves(), "JPEG", exif=exif), LIMITS, size=64)
    np.testing.assert_allclose(pixels[8, 32], RED, atol=12)
    np.testing.assert_allclose(pixels[56, 32], BLUE, atol=12)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_transparency_is_laid_over_white(kind: str) -> None:
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 16, 32))
    pixels = decode_image(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})), LIMITS, size=32)
    np.testing.assert_array_equal(pixels[16, 4], RED)
    np.testing.assert_array_equal(pixels[16, 28], (255, 255, 255))


def test_hidden_colours_do_not_bleed_through_scaling() -> None:
    image = Image.new("RGBA", (64, 64), (0, 255, 0, 0))  # invisible green
    image.paste((255, 0, 0, 255), (0, 0, 32, 64))
    pixels = decode_image(encoded(image, "PNG"), LIMITS, size=16).astype(int)
    assert (pixels[..., 1] <= pixels[..., 0]).all(), "green is stronger than red somewhere"


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    image = Image.fromarray(np.full((8, 8), 0x8000, dtype=np.uint16))
    np.testing.assert_array_equal(decode_image(encoded(image, "PNG"), LIMITS, size=8), 0x80)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    data = encoded(halves().convert(mode), "JPEG" if mode == "CMYK" else "PNG")
    assert decode_image(data, LIMITS, size=8).shape == (8, 8, 3)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(decode_image(data, LIMITS, size=8)[4, 4], RED)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_cut_file_is_refused_wherever_it_is_cut(kind: str) -> None:
    data = encoded(noise(), kind)
    decode_image(data, LIMITS, size=16)
    for length in range(0, len(data), max(1, len(data) // 60)):
        with pytest.raises(ContentError) as caught:
            decode_image(data[:length], LIMITS, size=16)
        assert caught.value.code in {"image_truncated", "image_undecodable", "image_unsupported"}


def test_pixels_are_limited_before_decoding() -> None:
    data = encoded(Image.new("L", (300, 200)), "PNG")
    decode_image(data, Limits(max_image_pixels=60_000), size=8)
    with pytest.raises(ContentError, match="300 x 200") as caught:
        decode_image(data, Limits(max_image_pixels=59_999), size=8)
    assert (caught.value.code, caught.value.limit) == ("image_too_large", "max_image_pixels")


def chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")


@pytest.mark.parametrize("side", [12_000, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_even_under_a_generous_limit(side: int) -> None:
    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(ContentError) as caught:
        decode_image(bomb, Limits(max_image_pixels=10**10), size=8)
    assert caught.value.code == "image_too_large"


def test_damaged_content_is_refused() -> None:
    data = bytearray(encoded(noise(), "PNG"))
    data[60:80] = bytes(20)
    with pytest.raises(ContentError) as caught:
        decode_image(bytes(data), LIMITS, size=16)
    assert caught.value.code == "image_undecodable"


@settings(max_examples=60, deadline=None)
@given(tail=st.binary(max_size=200), magic=st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF"]))
def test_garbage_never_raises_anything_else(tail: bytes, magic: bytes) -> None:
    with pytest.raises(ContentError):
        decode_image(magic + tail, LIMITS, size=8)

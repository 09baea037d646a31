"""Images: encoded bytes to a square RGB array.

Shape legend: S x S pixels of the square, 3 colours.
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model.content import Modality
from model.encoder import Limits
from model.errors import ContentError
from model.media.containers import check_container, jpeg_scans

WHITE = (255, 255, 255)
# Encoders write about ten. A scan of 60 bytes costs as much as one of the whole picture, and thousands fit in a file.
MAX_SCANS = 100


def decode_image(data: bytes, limits: Limits, *, size: int) -> NDArray[np.uint8]:
    """Decode a PNG, JPEG, WebP or GIF (its first frame) and fit it into a white square without distortion.

    The EXIF orientation is applied, and transparency is laid over white.

    Returns:
        uint8 RGB array of shape [size, size, 3].

    Raises:
        ContentError: ``image_unsupported``, ``image_too_large`` (bytes or pixels, before decoding),
            ``image_too_complex`` (scans of a JPEG), ``image_truncated`` or ``image_undecodable``.
    """
    return _decoded(data, limits, size, lambda image: fit_square(image, size))


def decode_picture(data: bytes, limits: Limits, *, longest: int) -> NDArray[np.uint8]:
    """As :func:`decode_image`, but in the picture's own shape [H, W, 3], its longer side at most ``longest``."""
    return _decoded(data, limits, longest, lambda image: fit(image, min(longest, max(image.size))))


def _decoded(
    data: bytes, limits: Limits, size: int, shape: Callable[[Image.Image], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    container = check_container(data, Modality.IMAGE, limits)
    if container == "jpeg" and (scans := jpeg_scans(data)) > MAX_SCANS:
        raise ContentError(
            f"the image (jpeg) has {scans} scans; at most {MAX_SCANS} are accepted: save it anew",
            code="image_too_complex",
        )
    try:
        # Only the decoder of the sniffed format is reachable.
        with Image.open(io.BytesIO(data), formats=(container.upper(),)) as image:
            _check_pixels(image.size, limits)
            image.draft("RGB", (2 * size, 2 * size))  # a JPEG can be decoded at a reduced scale
            ImageOps.exif_transpose(image, in_place=True)  # without a copy when it is upright already
            return shape(image)
    except ContentError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(str(error), limits) from error
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise ContentError(
            f"the image ({container}, {len(data)} bytes) cannot be decoded: {error}; save it anew",
            code="image_truncated" if "truncated" in str(error) else "image_undecodable",
        ) from error


def fit_square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Scale ``image`` to fit a white square of ``size`` pixels, centred, keeping its aspect ratio; [S, S, 3]."""
    image = _plain_mode(image)
    scale = size / max(image.size)
    fitted = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # Scaling comes before laying over white: Pillow scales transparent pixels premultiplied.
    image = image.resize(fitted, Image.Resampling.BICUBIC, reducing_gap=3.0)
    square = Image.new("RGB", (size, size), WHITE)
    corner = ((size - fitted[0]) // 2, (size - fitted[1]) // 2)
    square.paste(image.convert("RGB"), corner, image.getchannel("A") if image.mode == "RGBA" else None)
    return np.asarray(square)


def fit(image: Image.Image, longest: int) -> NDArray[np.uint8]:
    """As :func:`fit_square` with ``longest`` pixels a side, without the white margins: [H, W, 3]."""
    square = fit_square(image, longest)
    scale = longest / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    left, top = (longest - width) // 2, (longest - height) // 2
    return square[top : top + height, left : left + width]


def _plain_mode(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow's own conversion clips instead of scaling
        image = Image.fromarray((np.asarray(image, dtype=np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _check_pixels(shape: tuple[int, int], limits: Limits) -> None:
    # Pillow only warns between its own bound and twice that; here its bound is a limit like ours.
    limit = min(limits.max_image_pixels, Image.MAX_IMAGE_PIXELS or limits.max_image_pixels)
    if shape[0] * shape[1] > limit:
        raise _too_large(f"{shape[0]} x {shape[1]} pixels, at most {limit} in all", limits)


def _too_large(detail: str, limits: Limits) -> ContentError:
    return ContentError(
        f"the image is too large: {detail} (max_image_pixels={limits.max_image_pixels}); scale it down before sending",
        code="image_too_large",
        limit="max_image_pixels",
    )

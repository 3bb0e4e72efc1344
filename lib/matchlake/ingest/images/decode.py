"""Decodes an image file into a square of RGB pixels, or gives the reason why it cannot."""

import io
import warnings
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from matchlake.ingest.images.params import Preprocessing

Pixels = npt.NDArray[np.uint8]

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
"""The allowed formats. Pillow's other formats start programs (EPS) or do not hold photographs."""
Image.init()  # without init(), Pillow only knows the most frequent formats
_OPAQUE = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}
_WHITE = (255, 255, 255, 255)
_MAX_16_BIT = 65535
_SHOWN = 200


class ImageError(StrEnum):
    """Every error code of a quarantined image."""

    NO_KEY = "no_key"
    DUPLICATE_KEY = "duplicate_key"
    EMPTY_FILE = "empty_file"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_AN_IMAGE = "not_an_image"
    CORRUPT_IMAGE = "corrupt_image"
    UNSUPPORTED_PIXELS = "unsupported_pixels"
    NOT_FINITE = "not_finite"


class DecodedImage(NamedTuple):
    """What a file holds, as far as it could be read."""

    format: str | None = None
    mode: str | None = None
    """The pixel mode of the file, as Pillow names it: RGB, L, P, CMYK, I;16, ..."""
    width: int | None = None
    height: int | None = None
    is_animated: bool | None = None
    """Whether the file has several frames; only the first one is used."""
    pixels: Pixels | None = None
    """[side, side, 3]; None for a rejected image."""
    error_code: ImageError | None = None
    error_message: str | None = None

    def rejected(self, code: ImageError, message: str) -> "DecodedImage":
        """The image without pixels, with the error."""
        return self._replace(pixels=None, error_code=code, error_message=message[:_SHOWN])


def decode(data: bytes, max_pixels: int, side: int, steps: Preprocessing) -> DecodedImage:
    """The centre of the image as `side` x `side` RGB pixels; never raises for bad bytes.

    The image is turned as its EXIF orientation says. Transparent parts become white. 16-bit values
    become 8-bit values. More than `max_pixels` are never decoded.
    """
    found = DecodedImage()
    try:
        # The table says what Pillow warns of: broken metadata, and images that are large.
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            found = _facts(image)
            if image.width * image.height > max_pixels:
                text = f"{image.width} x {image.height} pixels are more than max_pixels"
                return found.rejected(ImageError.TOO_MANY_PIXELS, f"{text} {max_pixels}")
            rgb = _rgb(ImageOps.exif_transpose(image))
            if rgb is None:
                text = f"pixels of mode {image.mode} have no known range of values"
                return found.rejected(ImageError.UNSUPPORTED_PIXELS, text)
            return found._replace(pixels=np.asarray(_centre(rgb, side, steps)))
    except UnidentifiedImageError:
        text = f"the bytes are not one of {', '.join(_FORMATS)}"
        return found.rejected(ImageError.NOT_AN_IMAGE, text)
    except Image.DecompressionBombError as error:
        return found.rejected(ImageError.TOO_MANY_PIXELS, str(error))
    except Exception as error:  # noqa: BLE001 - Pillow raises errors of many kinds for broken files
        text = f"{type(error).__name__}: {error}"
        return found.rejected(ImageError.CORRUPT_IMAGE, text)


def _facts(image: Image.Image) -> DecodedImage:
    is_animated = bool(getattr(image, "is_animated", False))
    return DecodedImage(image.format, image.mode, image.width, image.height, is_animated)


def _rgb(image: Image.Image) -> Image.Image | None:
    """The image in RGB; None for pixels without a known range."""
    image.load()
    if image.mode.startswith("I"):
        values = np.array(image, np.int32)
        if values.min() < 0 or values.max() > _MAX_16_BIT:
            return None
        values *= 255  # converts in place: a copy of a large image may exceed the memory of a task
        values += _MAX_16_BIT // 2
        values //= _MAX_16_BIT
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        canvas = Image.new("RGBA", transparent.size, _WHITE)
        return Image.alpha_composite(canvas, transparent).convert("RGB")
    return image.convert("RGB") if image.mode in _OPAQUE else None


def _centre(image: Image.Image, side: int, steps: Preprocessing) -> Image.Image:
    """The centre of the resized image.

    Only the part that is kept is resized. So a strip of 1 x 100,000 pixels needs little memory.
    """
    width, height = image.size
    short = shorter_side(side, steps)
    wide = short if width <= height else int(short * width / height)
    high = short if height <= width else int(short * height / width)
    left, top = round((wide - side) / 2), round((high - side) / 2)
    x, y = width / wide, height / high
    right, bottom = min((left + side) * x, width), min((top + side) * y, height)
    filtered = Image.Resampling[steps.resampling.upper()]
    return image.resize((side, side), filtered, box=(left * x, top * y, right, bottom))


def shorter_side(side: int, steps: Preprocessing) -> int:
    """The length of the shorter side after resizing, for a crop of `side`."""
    return round(side * 8 / 7) if steps.resize is None else steps.resize


def normalized(pixels: Pixels, steps: Preprocessing) -> npt.NDArray[np.float32]:
    """Normalizes pixels [n, side, side, 3] for a model; the layout stays."""
    ordered = pixels[..., ::-1] if steps.channels == "bgr" else pixels
    values: npt.NDArray[np.float32] = ordered.astype(np.float32)
    values /= np.float32(255)
    values -= np.asarray(steps.mean, np.float32)
    values /= np.asarray(steps.std, np.float32)
    return values

"""Every form of an image becomes RGB pixels, or says why not."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from matchlake.ingest.images.decode import DecodedImage, ImageError, decode, normalized
from matchlake.ingest.images.params import Preprocessing

WHOLE = Preprocessing(resize=8, resampling="nearest")
"""Keeps an image of 8 x 8 pixels as it is."""
GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def read(data: bytes, steps: Preprocessing = WHOLE, side: int = 8) -> DecodedImage:
    return decode(data, 1_000_000, side, steps)


def written(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def colours(side: int = 8, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(values)


def pixels_of(found: DecodedImage) -> np.ndarray[Any, Any]:
    assert found.error_code is None, found
    assert found.pixels is not None
    assert (found.pixels.dtype, found.pixels.ndim) == (np.uint8, 3)
    return found.pixels


def grey_rgb() -> np.ndarray[Any, Any]:
    return np.repeat(GREY[..., None], 3, axis=2)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(b"\0" * 100)),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_decode_keeps_the_pixels_of_lossless_formats(kind: str) -> None:
    found = read(written(colours(), kind))
    assert np.array_equal(pixels_of(found), np.asarray(colours()))
    assert found[:5] == (kind, "RGB", 8, 8, False)


def test_decode_gray_palette_and_one_bit() -> None:
    for mode, image, expected in (
        ("L", Image.fromarray(GREY), grey_rgb()),
        ("P", Image.fromarray(GREY).convert("P"), grey_rgb()),
        ("1", Image.fromarray(GREY > 100), np.where(grey_rgb() > 100, 255, 0)),
    ):
        found = read(written(image))
        assert found.mode == mode
        assert np.array_equal(pixels_of(found), expected), mode


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_decode_cmyk_is_near_its_rgb(kind: str) -> None:
    cmyk = Image.new("RGB", (8, 8), (200, 30, 90)).convert("CMYK")
    found = read(written(cmyk, kind))
    assert found.mode == "CMYK"
    assert np.abs(pixels_of(found).astype(int) - [200, 30, 90]).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_decode_16_bit_keeps_the_upper_bits(kind: str) -> None:
    values = GREY.astype(np.uint16) * 257
    found = read(written(Image.fromarray(values), kind))
    assert (found.mode or "").startswith("I")
    assert np.array_equal(pixels_of(found), grey_rgb())


def test_decode_transparent_parts_are_white() -> None:
    red = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    red.paste((0, 255, 0, 0), (0, 0, 8, 4))
    pixels = pixels_of(read(written(red)))
    assert (pixels[:4] == 255).all()
    assert (pixels[4:] == [255, 0, 0]).all()
    palette = Image.fromarray(np.zeros((8, 8), np.uint8)).convert("P")
    assert (pixels_of(read(written(palette, "GIF", transparency=0))) == 255).all()


def test_decode_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = written(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        found = read(data)
        assert found.is_animated, kind
        assert (pixels_of(found) == [255, 0, 0]).all(), kind


def test_decode_one_pixel_and_long_strips() -> None:
    for size in ((1, 1), (1, 100_000), (100_000, 1)):
        image = Image.new("RGB", size, (10, 20, 30))
        found = read(written(image), Preprocessing(), 224)
        assert pixels_of(found).shape == (224, 224, 3)
        assert (found.width, found.height) == size
        assert (pixels_of(found) == [10, 20, 30]).all()


def test_decode_turns_as_exif_says() -> None:
    image, exif = colours(), Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    found = read(written(image, "TIFF", exif=exif))
    assert np.array_equal(pixels_of(found), np.rot90(np.asarray(image), -1))


@pytest.mark.parametrize("size", [(300, 400), (640, 201), (224, 224), (31, 57)])
@pytest.mark.parametrize(("resampling", "most"), [("bilinear", 1), ("bicubic", 24)])
def test_decode_equals_resize_then_crop(size: tuple[int, int], resampling: str, most: int) -> None:
    values = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image, steps = Image.fromarray(values), Preprocessing(resampling=resampling)
    width, height = size
    scaled = (
        (256, int(256 * height / width)) if width <= height else (int(256 * width / height), 256)
    )
    whole = image.resize(scaled, Image.Resampling[resampling.upper()])
    left, top = round((scaled[0] - 224) / 2), round((scaled[1] - 224) / 2)
    expected = np.asarray(whole.crop((left, top, left + 224, top + 224))).astype(int)
    got = pixels_of(read(written(image), steps, 224)).astype(int)
    # Pillow rounds between its two passes, which bicubic filters show on noise.
    assert np.abs(got - expected).max() <= most
    assert np.abs(got - expected).mean() < 0.4


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: b"no image at all", ImageError.NOT_AN_IMAGE),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ImageError.NOT_AN_IMAGE),
        (lambda: b"\xff\xd8\xff\xe0", ImageError.NOT_AN_IMAGE),
        (lambda: written(colours(200), "JPEG")[:900], ImageError.CORRUPT_IMAGE),
        (lambda: written(colours(200))[:900], ImageError.CORRUPT_IMAGE),
        (lambda: png_of_size(1001, 1000), ImageError.TOO_MANY_PIXELS),
        (lambda: png_of_size(100_000, 100_000), ImageError.TOO_MANY_PIXELS),
        (
            lambda: written(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF"),
            ImageError.UNSUPPORTED_PIXELS,
        ),
        (
            lambda: written(Image.fromarray(np.full((8, 8), -1, np.int32)), "TIFF"),
            ImageError.UNSUPPORTED_PIXELS,
        ),
    ],
)
def test_decode_says_what_is_wrong(make: Callable[[], bytes], code: ImageError) -> None:
    found = read(make())
    assert (found.error_code, found.pixels) == (code, None)
    assert found.error_message


def test_decode_any_bytes_raise_nothing() -> None:
    rng = np.random.default_rng(3)
    kinds = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
    whole = [written(colours(24), kind) for kind in kinds]
    for number in range(300):
        data = bytearray(whole[number % len(whole)])
        for at in rng.integers(0, len(data), 4):
            data[at] = rng.integers(0, 256)
        found = read(bytes(data[: rng.integers(1, len(data) + 1)]))
        assert (found.pixels is None) == (found.error_code is not None)


def test_normalized_by_channel_and_order() -> None:
    pixels = np.array([[[[255, 0, 51]]]], np.uint8)
    half = {"mean": (0.5, 0.25, 0.0), "std": (0.5, 0.25, 0.2)}
    assert normalized(pixels, Preprocessing(**half)).ravel().tolist() == [1, -1, 1]
    bgr = normalized(pixels, Preprocessing(channels="bgr", **half))
    assert np.allclose(bgr.ravel(), [-0.6, -1, 5])

"""Color profiles, 16-bit gray and other depths, from files built for the purpose."""

import struct

import numpy as np
import pytest
from image_helpers import (
    EXACT,
    LINEAR_GRAY,
    SRGB,
    SWAPPED,
    cmyk_profile,
    levels,
    load,
    one_row,
    tiff,
    to_srgb,
)
from PIL import Image

# Color profiles


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_profile_is_converted_to_srgb(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    found = load(Image.new("RGB", (16, 16), (255, 0, 0)), kind, icc_profile=SWAPPED, **options)
    np.testing.assert_allclose(found[8, 8], [0, 1, 0], atol=2 / 255)


def test_srgb_profile_changes_nothing():
    np.testing.assert_array_equal(
        load(Image.fromarray(levels()), icc_profile=SRGB) * 255, levels().astype(np.float32)
    )


def test_profile_goes_with_palette_alpha_and_orientation():
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([255, 0, 0])
    np.testing.assert_allclose(load(palette, icc_profile=SWAPPED)[0, 0], [0, 1, 0], atol=EXACT)
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 51))
    np.testing.assert_allclose(load(clear, icc_profile=SWAPPED)[0, 0], [0.8, 1, 0.8], atol=1 / 255)
    exif = Image.Exif()
    exif[274] = 6
    turned = load(Image.new("RGB", (3, 2), "red"), icc_profile=SWAPPED, exif=exif)
    np.testing.assert_allclose(turned, np.broadcast_to([0, 1, 0], (3, 2, 3)), atol=EXACT)


def test_gray_profile():
    gray = np.arange(0, 256, 5, dtype=np.uint8)[None]
    expected = to_srgb(gray[0] / 255)
    for picture in (Image.fromarray(gray), Image.fromarray(gray).convert("LA")):
        found = load(picture, icc_profile=LINEAR_GRAY)
        np.testing.assert_allclose(one_row(found), expected, atol=1.01 / 255)
    deep = Image.fromarray(gray.astype(np.uint16) * 257)
    found = load(deep, icc_profile=LINEAR_GRAY)
    np.testing.assert_allclose(one_row(found), expected, atol=1.01 / 255)


def test_gray_picture_with_a_color_profile_stays_as_it_is():
    gray = np.arange(256, dtype=np.uint8)[None]
    found = load(Image.fromarray(gray), icc_profile=SRGB)
    np.testing.assert_allclose(one_row(found), gray[0] / 255, atol=EXACT)


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_goes_through_its_profile(kind):
    for cyan in (0, 255):
        picture = Image.new("CMYK", (16, 16), (cyan, 255 - cyan, 255 - cyan, 255 - cyan))
        found = load(picture, kind, icc_profile=cmyk_profile())
        np.testing.assert_allclose(found[8, 8], 1 - cyan / 255, atol=3 / 255)


@pytest.mark.parametrize(
    "broken",
    [b"garbage", SRGB[:200], SRGB[:128] + bytes(460), cmyk_profile(), LINEAR_GRAY],
    ids=["garbage", "cut", "no tags", "cmyk", "gray"],
)
def test_unusable_profile_is_ignored(broken):
    found = load(Image.new("RGB", (2, 2), (255, 128, 0)), icc_profile=broken)
    np.testing.assert_allclose(found[0, 0] * 255, [255, 128, 0], atol=1e-4)
    found = load(Image.new("CMYK", (2, 2), (0, 0, 0, 0)), "TIFF", icc_profile=SRGB)
    assert (found == 1).all()


# More than eight bits


def test_sixteen_bit_png_is_scaled():
    values = np.array([[0, 1, 255, 256, 32768, 65535]], np.uint16)
    found = one_row(load(Image.fromarray(values)))
    np.testing.assert_allclose(found, values[0] / 65535, atol=EXACT)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("code", "bits", "sample_format", "values", "expected"),
    [
        ("H", 16, None, [0, 256, 65535], [0, 256 / 65535, 1]),
        ("h", 16, 2, [-5, 0, 32767], [0, 0, 1]),
        ("i", 32, 2, [0, 32768, 65535], [0, 32768 / 65535, 1]),
        ("i", 32, 2, [-1, 2**30, 2**31 - 1], [0, 0.5, 1]),
        ("f", 32, 3, [-0.5, 0.25, 1.0], [0, 0.25, 1]),
        ("f", 32, 3, [0, 51, 255], [0, 0.2, 1]),
    ],
)
def test_deep_gray_tiff_is_scaled(order, code, bits, sample_format, values, expected):
    pixels = struct.pack(f"{order}{len(values)}{code}", *values)
    data = tiff(3, 1, pixels, bits=(bits,), sample_format=sample_format, order=order)
    np.testing.assert_allclose(one_row(load(data)), expected, atol=2 * EXACT)


def test_unsigned_tiff_of_32_bits():
    found = load(tiff(3, 1, struct.pack("<3I", 0, 2**31, 2**32 - 1), bits=(32,), sample_format=1))
    np.testing.assert_allclose(one_row(found), [0, 0.5, 1], atol=EXACT)


def test_twelve_bit_and_white_is_zero_tiff():
    found = load(tiff(2, 1, bytes([0x80, 0x0F, 0xFF]), bits=(12,)))
    np.testing.assert_allclose(one_row(found), [0x800 / 4095, 1], atol=EXACT)
    found = load(tiff(2, 1, struct.pack("<2H", 0, 65535), bits=(16,), photometric=0))
    assert one_row(found).tolist() == [1, 0]


def test_color_of_sixteen_bits_is_scaled():
    pixels = struct.pack("<3H", 0, 32768, 65535)
    found = load(tiff(1, 1, pixels, bits=(16, 16, 16), photometric=2))
    np.testing.assert_allclose(found[0, 0], [0, 0.5, 1], atol=1 / 255)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_floating_point_picture_that_is_not_finite(bad):
    data = tiff(2, 1, struct.pack("<2f", 0.5, bad), bits=(32,), sample_format=3)
    with pytest.raises(ValueError, match="not finite"):
        load(data)

"""Transparency: kept where it is asked for, written where it can be, resized with its color."""

import struct

import numpy as np
import pytest
from image_helpers import EXACT, levels, load, tiff
from PIL import Image

from jaxnst.image import ENDINGS, holds, load_image, resize, resize_rgba, save_image


def see_through(height=20, width=24):
    """8-bit noise with an alpha channel of all levels."""
    alpha = np.random.default_rng(9).integers(0, 256, (height, width, 1), dtype=np.uint8)
    return np.concatenate([levels(height, width), alpha], axis=-1)


@pytest.mark.parametrize("ending", [".png", ".tif", ".tiff", ".webp"])
def test_color_and_alpha_are_kept_exactly(tmp_path, ending):
    image = see_through() / np.float32(255)
    save_image(tmp_path / f"x{ending}", image)
    loaded = load_image(tmp_path / f"x{ending}", alpha=True)
    assert loaded.dtype == np.float32 and loaded.flags.c_contiguous
    kept = slice(3, None) if ending == ".webp" else slice(None)  # WebP's colors are lossy
    np.testing.assert_array_equal(loaded[..., kept], image[..., kept])


@pytest.mark.parametrize("ending", [name for name in ENDINGS if not holds(f"x{name}", "alpha")])
def test_other_formats_show_it_on_white(tmp_path, ending):
    image = np.full((16, 16, 4), [1, 0, 0, 0.2], np.float32)
    before = image.copy()
    save_image(tmp_path / f"x{ending}", image, quality=100)
    np.testing.assert_array_equal(image, before)
    found = load_image(tmp_path / f"x{ending}", alpha=True)
    np.testing.assert_allclose(found, np.broadcast_to([1, 0.8, 0.8], (16, 16, 3)), atol=2 / 255)


def test_it_is_flattened_on_white_unless_asked_for(tmp_path):
    image = see_through() / np.float32(255)
    save_image(tmp_path / "x.png", image)
    alpha = image[..., 3:]
    expected = image[..., :3] * alpha + 1 - alpha
    np.testing.assert_allclose(load_image(tmp_path / "x.png"), expected, atol=EXACT)


@pytest.mark.parametrize(("transparency", "alpha"), [(1, 0), (bytes([255, 51]), 0.2)])
def test_transparent_palette(transparency, alpha):
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    colors = np.array([[10, 20, 30], [40, 50, 60]]) / 255
    kept = load(picture, alpha=True, transparency=transparency)[0]
    np.testing.assert_allclose(kept, np.column_stack([colors, [1, alpha]]), atol=EXACT)
    flat = load(picture, transparency=transparency)[0]
    np.testing.assert_allclose(flat, [colors[0], colors[1] * alpha + 1 - alpha], atol=EXACT)


@pytest.mark.parametrize(
    ("mode", "clear", "solid", "value"),
    [
        ("L", 7, 9, 9 / 255),
        ("1", 255, 0, 0),
        ("RGB", (7, 7, 7), (9, 9, 9), 9 / 255),
        ("I;16", 700, 900, 900 / 65535),
    ],
)
def test_a_color_that_stands_for_transparent(mode, clear, solid, value):
    picture = Image.new(mode, (2, 1), clear)
    picture.putpixel((1, 0), solid)
    transparency = 1 if mode == "1" else clear
    kept = load(picture, alpha=True, transparency=transparency)[0]
    np.testing.assert_allclose(kept[:, 3], [0, 1])
    np.testing.assert_allclose(kept[1, :3], value, atol=EXACT)
    flat = load(picture, transparency=transparency)[0]
    np.testing.assert_allclose(flat, [[1] * 3, [value] * 3], atol=EXACT)


def test_premultiplied_color_is_made_straight():
    # 338: one extra sample, associated alpha.
    data = tiff(1, 1, bytes([50, 25, 0, 128]), bits=(8,) * 4, photometric=2, extra={338: [1]})
    found = load(data, alpha=True)
    np.testing.assert_allclose(found[0, 0] * 255, [100, 50, 0, 128], atol=1)


def bmp_of_32_bits(alphas):
    """A bitmap with a mask for alpha, whose pixels are all 10, 20, 30."""
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", 56, len(alphas), 1, 1, 32, 3, 0, 2835, 2835, 0, 0)
    pixels = b"".join(bytes([30, 20, 10, alpha]) for alpha in alphas)
    start = 14 + 56
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + head + masks + pixels


def test_a_bitmap_whose_alpha_is_0_everywhere_is_opaque():
    found = load(bmp_of_32_bits([0, 0, 0]), alpha=True)
    np.testing.assert_allclose(found[0] * 255, [[10, 20, 30]] * 3, atol=1e-4)
    found = load(bmp_of_32_bits([0, 51, 255]), alpha=True)
    np.testing.assert_allclose(found[0, :, 3], [0, 0.2, 1], atol=EXACT)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_in_other_formats_what_is_transparent_everywhere_is_so(kind):
    found = load(Image.new("RGBA", (3, 2), (10, 20, 30, 0)), kind, alpha=True)
    np.testing.assert_array_equal(found[..., 3], 0)


@pytest.mark.parametrize(("mode", "color"), [("RGB", "red"), ("RGBA", "red"), ("LA", (9, 255))])
def test_what_is_opaque_all_over_has_three_channels(mode, color):
    assert load(Image.new(mode, (3, 2), color), alpha=True).shape == (2, 3, 3)


def test_resizing_keeps_hidden_color_out():
    # The left half is red; the right half is invisible, and green.
    image = np.zeros((16, 32, 4), np.float32)
    image[:, :16], image[:, 16:] = [1, 0, 0, 1], [0, 1, 0, 0]
    for size in [(8, 13), (40, 71)]:
        found = resize_rgba(image, size)
        assert found.shape == (*size, 4) and found.dtype == np.float32
        seen = found[..., 3] > 0.05
        assert seen.any() and not seen.all()
        np.testing.assert_allclose(found[seen][:, :3], np.broadcast_to([1, 0, 0], (seen.sum(), 3)))
        np.testing.assert_array_equal(found[..., 3], resize(image, size)[..., 3].clip(0, 1))
    assert resize(image, (8, 13))[..., 1][resize(image, (8, 13))[..., 3] > 0.05].max() > 0.1


def test_resizing_what_is_opaque_is_plain_resizing():
    image = np.concatenate([levels() / np.float32(255), np.ones((20, 24, 1), np.float32)], axis=-1)
    box = (-3.0, 2.5, 18.0, 22.0)
    found = resize_rgba(image, (13, 31), box=box)
    expected = resize(image[..., :3], (13, 31), box=box).clip(0, 1)
    np.testing.assert_allclose(found[..., :3], expected, atol=1e-6)
    np.testing.assert_allclose(found[..., 3], 1, atol=1e-6)


def test_resizing_needs_four_channels():
    with pytest.raises(ValueError, match=r"shape \(4, 4, 3\), expected \(height, width, 4\)"):
        resize_rgba(np.zeros((4, 4, 3), np.float32), (2, 2))

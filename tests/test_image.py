"""Pictures in and out: formats, modes, orientation, sizes."""

import io
import sys
import types
import warnings

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_helpers import EXACT, encoded, levels, load, smooth, tiff
from PIL import Image, ImageFile, JpegImagePlugin

from jaxnst import image as jim

LOSSLESS = [".png", ".tif", ".tiff", ".bmp"]
LOSSY = [".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif"]


# Round trips


@pytest.mark.parametrize("ending", [*LOSSLESS, ".PNG"])
def test_lossless_round_trip_is_exact(tmp_path, ending):
    image = levels().astype(np.float32) / 255
    jim.save_image(tmp_path / f"x{ending}", image)
    loaded = jim.load_image(tmp_path / f"x{ending}")
    assert loaded.dtype == np.float32
    assert loaded.flags.writeable and loaded.flags.c_contiguous
    np.testing.assert_array_equal(loaded, image)


@pytest.mark.parametrize("ending", LOSSY)
def test_lossy_round_trip_is_close(tmp_path, ending):
    jim.save_image(str(tmp_path / f"x{ending}"), smooth())
    loaded = jim.load_image(str(tmp_path / f"x{ending}"))
    assert np.abs(loaded - smooth()).max() < 6 / 255
    assert np.abs(loaded - smooth()).mean() < 1.5 / 255


def test_every_ending_is_tested():
    assert set(jim.ENDINGS) == {*LOSSLESS, *LOSSY}


@given(
    hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9).map(lambda s: (*s, 3))
    )
)
@settings(max_examples=40, deadline=None)
def test_png_round_trip_of_any_picture(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "round-trip.png"
    jim.save_image(path, values / np.float32(255))
    np.testing.assert_array_equal(jim.load_image(path) * 255, values)


def test_values_are_clipped_and_rounded_to_nearest(tmp_path):
    given = np.array([-1, 0.4 / 255, 0.6 / 255, 254.6 / 255, 2, np.inf], np.float32)
    jim.save_image(tmp_path / "x.png", np.repeat(given[None, :, None], 3, axis=2))
    found = np.asarray(Image.open(tmp_path / "x.png"))
    assert found[0, :, 0].tolist() == [0, 0, 1, 255, 255, 255]


def test_any_floating_point_type_is_saved_and_left_as_it_was(tmp_path):
    for dtype in (np.float16, np.float64):
        image = np.full((2, 2, 3), 1.5, dtype)
        jim.save_image(tmp_path / "x.png", image)
        assert (image == 1.5).all()
        assert (jim.load_image(tmp_path / "x.png") == 1).all()


def test_jpeg_keeps_full_color_resolution_and_quality_counts(tmp_path):
    image = levels(64, 64).astype(np.float32) / 255
    for quality in (50, 95):
        jim.save_image(tmp_path / f"{quality}.jpg", image, quality=quality)
    with Image.open(tmp_path / "95.jpg") as picture:
        assert JpegImagePlugin.get_sampling(picture) == 0  # 4:4:4
    assert (tmp_path / "50.jpg").stat().st_size < (tmp_path / "95.jpg").stat().st_size


# Modes


def test_gray_one_bit_and_palette():
    gray = levels()[..., 0]
    expected = np.repeat(gray[..., None], 3, axis=2) / np.float32(255)
    np.testing.assert_array_equal(load(Image.fromarray(gray)), expected)
    np.testing.assert_array_equal(load(Image.fromarray(gray).convert("P")), expected)
    bits = Image.fromarray(gray > 127)
    np.testing.assert_array_equal(load(bits), np.repeat((gray > 127)[..., None], 3, axis=2))


def test_palette_in_color():
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 0])
    picture.putpixel((1, 0), 1)
    for kind in ("PNG", "BMP", "TIFF"):
        found = load(picture, kind) * 255
        np.testing.assert_allclose(found, [[[10, 20, 30], [200, 100, 0]]], atol=1e-4)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), (1, 1, 1)),
        ("RGBA", (255, 0, 0, 255), (1, 0, 0)),
        ("RGBA", (255, 0, 0, 51), (1, 0.8, 0.8)),
        ("LA", (0, 51), (0.8, 0.8, 0.8)),
        ("LA", (0, 255), (0, 0, 0)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_flattened_on_white(mode, color, expected, kind):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    found = load(Image.new(mode, (3, 2), color), kind, **options)
    np.testing.assert_allclose(found, np.broadcast_to(expected, (2, 3, 3)), atol=EXACT)


def test_palette_with_alpha_in_tiff():
    # Photometric 3 with one unassociated extra sample: Pillow's mode PA, which it cannot write.
    table = [0] * 768
    table[1], table[257], table[513] = 10 * 257, 20 * 257, 30 * 257
    pixels = bytes([1, 255, 1, 0])
    data = tiff(2, 1, pixels, bits=(8, 8), photometric=3, extra={320: table, 338: [2]})
    np.testing.assert_allclose(load(data)[0] * 255, [[10, 20, 30], [255] * 3], atol=1e-4)


def test_cmyk_without_profile():
    colors = {(0, 0, 0, 0): (1, 1, 1), (255, 0, 0, 0): (0, 1, 1), (0, 0, 0, 255): (0, 0, 0)}
    for cmyk, expected in colors.items():
        for kind in ("TIFF", "JPEG"):
            found = load(Image.new("CMYK", (16, 16), cmyk), kind)
            np.testing.assert_allclose(found[8, 8], expected, atol=2 / 255)


def test_lab():
    # L* = 50.2, a* = b* = 0: CIE 1976 gives Y = 0.1862, sRGB 119.
    found = load(Image.new("LAB", (2, 2), (128, 128, 128)), "TIFF")
    np.testing.assert_allclose(found, 119 / 255, atol=1.01 / 255)


# Orientation


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),  # row 0 is the right side, column 0 the top
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
def test_orientation_is_applied_once(tmp_path, kind, orientation):
    values = levels(16, 32)
    exif = Image.Exif()
    exif[274] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}}.get(kind, {})
    path = tmp_path / "picture"
    path.write_bytes(encoded(Image.fromarray(values), kind, exif=exif, **options))
    if kind in ("JPEG", "AVIF"):
        values = np.asarray(Image.open(io.BytesIO(path.read_bytes())))
    image = jim.load_image(path)
    np.testing.assert_array_equal(image * 255, UPRIGHT[orientation](values))
    assert jim.image_size(path) == image.shape[:2]


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0garbage", b"MM"])
def test_damaged_exif_is_ignored_in_silence(exif, recwarn):
    assert load(Image.new("RGB", (4, 3), "red"), "JPEG", exif=exif).shape == (3, 4, 3)
    assert not recwarn.list


# Animations and pages


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "GIF", "AVIF", "MPO"])
def test_first_picture_of_many_is_read(kind):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        np.testing.assert_allclose(load(data)[4, 4], [1, 0, 0], atol=2 / 255)
    notices = [str(w.message).rpartition("picture is an")[2] for w in caught]
    animation = kind in ("WEBP", "GIF", "AVIF")
    assert notices == ([" animation, of which the first picture is read"] if animation else [])


# Formats that are only read


@pytest.mark.parametrize("no_jp2", [False, True], ids=["with boxes", "bare"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_jpeg_2000_is_read(mode, no_jp2):
    values = np.dstack([levels(), levels(seed=1)])[..., : len(mode)]
    picture = Image.fromarray(values[..., 0] if mode == "L" else values)
    found = load(picture, "JPEG2000", no_jp2=no_jp2, alpha=True) * 255
    if mode == "L":
        values = values.repeat(3, -1)
    elif mode == "LA":
        values = values[..., [0, 0, 0, 1]]
    np.testing.assert_allclose(found, values, atol=1e-4)


def test_jpeg_2000_of_16_bits_is_scaled():
    values = np.array([[0, 1, 2**15, 2**16 - 1]] * 4, np.uint16)
    found = load(Image.fromarray(values), "JPEG2000")
    np.testing.assert_allclose(found[..., 0], values / 65535, atol=EXACT)


def test_a_gif_is_read_with_its_transparent_color():
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 0])
    picture.putpixel((1, 0), 1)
    found = load(picture, "GIF") * 255
    np.testing.assert_allclose(found, [[[10, 20, 30], [200, 100, 0]]], atol=1e-4)
    found = load(picture, "GIF", transparency=1, alpha=True)
    np.testing.assert_array_equal(found[..., 3], [[1, 0]])


def heic(major=b"heic", brands=b"mif1heic"):
    head = b"ftyp" + major + bytes(4) + brands
    return (len(head) + 4).to_bytes(4) + head + b"the rest"


@pytest.mark.parametrize("major", [b"heic", b"heix", b"mif1"])
def test_heic_names_the_extra_that_reads_it(monkeypatch, major):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r"is a HEIC picture, .*: pip install 'jaxnst\[heic\]'"):
        load(heic(major))


def test_heic_is_read_by_the_plugin(monkeypatch):
    """With a stand-in for pillow-heif, which registers a format under the same name."""

    class HeifImageFile(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self):
            if b"the rest" not in self.fp.read():
                raise SyntaxError("no picture")
            self._size, self._mode = (3, 2), "RGB"

        def load(self):
            self.im = Image.new("RGB", self._size, "red").im
            return super().load()

    for name in ("ID", "OPEN"):
        monkeypatch.setattr(Image, name, type(getattr(Image, name))(getattr(Image, name)))
    plugin = types.ModuleType("pillow_heif")
    plugin.register_heif_opener = lambda: Image.register_open("HEIF", HeifImageFile)
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    np.testing.assert_array_equal(load(heic()), np.broadcast_to(np.float32([1, 0, 0]), (2, 3, 3)))
    with pytest.raises(ValueError, match="is not a JPEG"):
        load(heic()[:-4])


def test_an_avif_of_the_general_brand_is_no_heic():
    with pytest.raises(ValueError, match=r"damaged|is not a JPEG"):
        load(heic(b"mif1", b"mif1avif"))


# Sizes


def bicubic_matrix(old, new):
    """Weights of Keys' kernel (a = -0.5) at pixel centres, wider when shrinking, cut at edges."""
    stretch = max(old / new, 1)
    centres = (np.arange(new) + 0.5) * old / new
    x = np.abs((np.arange(old)[None] + 0.5 - centres[:, None]) / stretch)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(20, 24), (7, 5), (41, 50), (20, 9), (1, 1), (33, 24)])
def test_resize_agrees_with_float64(size):
    image = np.random.default_rng(0).normal(size=(20, 24, 3)).astype(np.float32)
    rows, columns = bicubic_matrix(20, size[0]), bicubic_matrix(24, size[1])
    expected = np.einsum("ih,jw,hwc->ijc", rows, columns, image.astype(np.float64))
    found = jim.resize(image, size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)  # float32 sums of some 100 terms


@pytest.mark.parametrize("size", [(20, 24), (41, 50), (7, 9)])
def test_resize_takes_a_part_of_the_image(size):
    image = smooth()[:20, :24]
    whole = jim.resize(image[4:17, 3:19], size)
    np.testing.assert_allclose(
        jim.resize(image, size, box=(4.0, 3.0, 17.0, 19.0))[2:-2, 2:-2],
        whole[2:-2, 2:-2],
        atol=0.02,
    )
    quarter = jim.resize(jim.resize(image, (80, 96)), size, box=(10.0, 13.0, 70.0, 83.0))
    part = jim.resize(image, size, box=(2.5, 3.25, 17.5, 20.75))
    np.testing.assert_allclose(part, quarter, atol=0.02)


def test_resize_mirrors_an_image_beyond_its_borders():
    image = smooth()
    height, width = image.shape[:2]
    mirrored = np.pad(image, [(3, 5), (2, width + 1), (0, 0)], mode="symmetric")
    box = (-3.0, -2.0, height + 5.0, 2.0 * width + 1)
    np.testing.assert_array_equal(jim.resize(image, mirrored.shape[:2], box=box), mirrored)
    half = jim.resize(image, (height, width), box=(-0.5, -0.5, height - 0.5, width - 0.5))
    one = np.pad(image, [(1, 0), (1, 0), (0, 0)], mode="symmetric")
    between = (one[:-1, :-1] + one[1:, :-1] + one[:-1, 1:] + one[1:, 1:]) / 4
    np.testing.assert_allclose(half, between, atol=0.02)


def test_resize_to_the_same_size_is_a_copy():
    image = smooth()
    found = jim.resize(image, image.shape[:2])
    np.testing.assert_array_equal(found, image)
    assert not np.shares_memory(found, image)


def test_resize_antialiases():
    board = (np.indices((64, 64)).sum(axis=0) % 2)[..., None].astype(np.float32)
    np.testing.assert_allclose(jim.resize(board, (8, 8)), 0.5, atol=0.01)


def test_resizing_clips_what_overshoots_in_a_picture_and_nothing_else():
    step = np.repeat(np.arange(8) > 3, 8)[None, :, None].astype(np.float32)
    free = jim.resample(step, (1, 200))
    assert free.max() > 1.01 and free.min() < -0.01
    np.testing.assert_array_equal(jim.resize(step, (1, 200)), free.clip(0, 1))
    for values in (2 * step, step - 1, 255 * step):  # in another range
        np.testing.assert_array_equal(jim.resize(values, (1, 200)), jim.resample(values, (1, 200)))


sides = st.integers(1, 40)


@given(sides, sides, sides, sides, st.floats(-300, 300, width=32))
@settings(max_examples=60, deadline=None)
def test_resize_keeps_constants(height, width, new_height, new_width, value):
    found = jim.resize(np.full((height, width, 2), value, np.float32), (new_height, new_width))
    assert found.shape == (new_height, new_width, 2)
    np.testing.assert_allclose(found, value, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "size", "box", "says"),
    [
        ((4, 4), (2, 2), None, "expected .height, width, channels"),
        ((0, 4, 3), (2, 2), None, r"shape \(0, 4, 3\)"),
        ((4, 4, 3), (0, 2), None, "at least 1 pixel"),
        ((3, 40, 50), (2, 2), None, r"shape \(3, 40, 50\), expected .*: move its channels to the"),
        ((4, 4, 3), (2, 2), (3.0, 0.0, 3.0, 4.0), "expected top above bottom"),
    ],
)
def test_resize_refuses(shape, size, box, says):
    with pytest.raises(ValueError, match=says):
        jim.resize(np.zeros(shape, np.float32), size, box=box)


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 4096))
def test_fit_keeps_aspect(height, width, longest):
    found = jim.fit((height, width), longest)
    assert max(found) == longest
    assert min(found) >= 1
    scale = longest / max(height, width)
    for side, old in zip(found, (height, width), strict=True):
        assert abs(side - max(1, old * scale)) <= 0.5 + 1e-9
    assert jim.fit((width, height), longest) == found[::-1]


def test_fit_cases():
    assert jim.fit((600, 800), 512) == (384, 512)
    assert jim.fit((512, 512), 512) == (512, 512)
    assert jim.fit((1, 5000), 100) == (1, 100)
    for size, longest in [((0, 5), 5), ((5, 5), 0), ((5, 5), -5)]:
        with pytest.raises(ValueError, match="at least 1 pixel"):
            jim.fit(size, longest)

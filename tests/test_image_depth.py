"""What a file holds beside the pixels of old: 16 bits, a profile, pixels per inch; same bytes."""

import sys

import numpy as np
import pytest
from image_helpers import levels
from PIL import Image

from jaxnst.image import DPI, ENDINGS, check_deep, holds, load_image, save_image
from jaxnst.image.color import srgb_profile
from jaxnst.image.formats import kind_of

DEEP = [".png", ".tif"]


def deep_levels(channels=3):
    """Noise of 16 bits, with the least and the greatest value."""
    values = np.random.default_rng(3).integers(0, 2**16, (20, 24, channels), dtype=np.uint16)
    values[0, 0], values[0, 1] = 0, 2**16 - 1
    return values


def decoded(path):
    """Decode with the library itself."""
    if path.suffix == ".png":
        imagecodecs = pytest.importorskip("imagecodecs")
        return imagecodecs.png_decode(path.read_bytes())
    return pytest.importorskip("tifffile").imread(path)


@pytest.mark.parametrize("ending", DEEP)
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_are_exact(tmp_path, ending, channels):
    values, path = deep_levels(channels), tmp_path / f"x{ending}"
    pytest.importorskip("imagecodecs")
    save_image(path, values / np.float32(2**16 - 1), bits=16)
    found = decoded(path)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, values)
    # Pillow reads their upper halves.
    image = load_image(path, alpha=True)
    assert image.shape == values.shape
    np.testing.assert_allclose(image, values / 65535, atol=1.01 / 255)


@pytest.mark.parametrize("ending", DEEP)
def test_16_bits_come_with_profile_and_dpi(tmp_path, ending):
    pytest.importorskip("imagecodecs")
    path = tmp_path / f"x{ending}"
    save_image(path, deep_levels() / np.float32(65535), bits=16, dpi=300)
    with Image.open(path) as picture:
        assert picture.info["icc_profile"] == srgb_profile()
        assert float(picture.info["dpi"][0]) == pytest.approx(300, rel=1e-4)
        picture.load()  # its checksums are right


@pytest.mark.parametrize("ending", DEEP)
def test_16_bits_without_the_library_are_one_line_that_says_how_to_get_it(
    tmp_path, ending, monkeypatch
):
    for name in ("imagecodecs", "tifffile"):
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / f"x{ending}"
    for call in (check_deep, lambda path: save_image(path, levels() / np.float32(255), bits=16)):
        with pytest.raises(ValueError, match=r"pip install 'jaxnst\[print\]'") as caught:
            call(path)
        assert "\n" not in str(caught.value) and not path.exists()


@pytest.mark.parametrize("ending", [e for e in ENDINGS if kind_of(f"x{e}") not in ("PNG", "TIFF")])
def test_16_bits_are_refused_by_formats_that_have_none(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    with pytest.raises(ValueError, match="PNG and TIFF only"):
        save_image(path, levels() / np.float32(255), bits=16)
    assert not path.exists()


@pytest.mark.parametrize("ending", ENDINGS)
def test_profile_and_dpi_are_there_and_change_no_pixel(tmp_path, ending):
    path, image = tmp_path / f"x{ending}", levels() / np.float32(255)
    save_image(path, image, dpi=240)
    with Image.open(path) as picture:
        if kind_of(path) != "BMP":
            assert picture.info["icc_profile"] == srgb_profile()
        if kind_of(path) in ("WEBP", "AVIF"):
            assert picture.getexif()[282] == picture.getexif()[283] == 240
        else:
            assert float(picture.info["dpi"][0]) == pytest.approx(240, rel=1e-3)
    if kind_of(path) in ("PNG", "TIFF", "BMP"):
        np.testing.assert_array_equal(load_image(path), image)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp"])
def test_unless_it_is_asked_for_no_size_on_paper_is_said(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    save_image(path, levels() / np.float32(255))
    with Image.open(path) as picture:
        assert not picture.getexif()
        if ending != ".jpg":  # which says 72 where nothing is said
            assert "dpi" not in picture.info


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_same_picture_is_the_same_bytes(tmp_path, ending, monkeypatch):
    found = []
    for _ in range(2):
        srgb_profile.cache_clear()
        save_image(tmp_path / f"x{ending}", levels() / np.float32(255), dpi=300)
        found.append((tmp_path / f"x{ending}").read_bytes())
    assert found[0] == found[1]


def test_the_profile_has_no_date_of_its_own():
    assert srgb_profile()[24:36] == bytes([7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])
    assert len(srgb_profile()) == int.from_bytes(srgb_profile()[:4])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bits": 12}, "bits is 12, expected 8 or 16"),
        ({"dpi": 0}, "dpi is 0, expected 1 to"),
        ({"dpi": DPI[1] + 1}, "pixels per inch"),
        ({"quality": 0}, "quality is 0, expected 1 to 100"),
        ({"quality": 101}, "quality is 101, expected 1 to 100"),
    ],
)
def test_numbers_out_of_range(tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        save_image(tmp_path / "x.png", levels() / np.float32(255), **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dpi", DPI)
def test_every_format_holds_the_least_and_the_most_dpi(tmp_path, ending, dpi):
    save_image(tmp_path / f"x{ending}", levels() / np.float32(255), dpi=dpi)
    with Image.open(tmp_path / f"x{ending}") as picture:
        picture.load()
        said = float(picture.info.get("dpi", (dpi,))[0])
        assert said == pytest.approx(dpi, rel=0.02)
    assert holds(f"x{ending}", "record") == (ending != ".bmp")

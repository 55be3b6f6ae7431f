"""What is not a picture, or cannot be written."""

import errno
import gc
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_helpers import (
    SWAPPED,
    bmp_header,
    encoded,
    gif_header,
    jpeg_2000_header,
    jpeg_header,
    levels,
    load,
    png,
    smooth,
    tiff_header,
    webp_header,
)
from PIL import Image, features

from jaxnst import image as jim
from jaxnst.image import reading

# Bad input


BOMBS = [png, jpeg_header, bmp_header, tiff_header, webp_header, gif_header, jpeg_2000_header]


@pytest.mark.parametrize("header", BOMBS)
@pytest.mark.parametrize("size", [(65_000, 65_000), (16_000, 10_000), (12_000, 12_000)])
def test_bomb_is_refused_by_its_header(header, size):
    # None of these holds its pixels, so whoever came to decode them would call them damaged.
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ValueError, match=r"134 million pixels") as caught:
        load(header(*size))
    assert "\n" not in str(caught.value)
    assert before == Image.MAX_IMAGE_PIXELS


def test_size_limit_is_ours_and_silent(monkeypatch, recwarn):
    picture = Image.fromarray(levels(10, 10))
    monkeypatch.setattr(reading, "MAX_PIXELS", 99)
    with pytest.raises(ValueError, match="make it smaller"):
        load(picture)
    monkeypatch.setattr(reading, "MAX_PIXELS", 100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)  # where Pillow warns
    assert load(picture).shape == (10, 10, 3)
    assert not recwarn.list


def test_length_limit(monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 20)
    with pytest.raises(ValueError, match="more than the 20"):
        load(Image.new("RGB", (2, 2)))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("AVIF", {}),
        ("GIF", {}),
        ("JPEG2000", {}),
        ("JPEG2000", {"no_jp2": True, "tile_size": (16, 16)}),
    ],
)
def test_cut_short_is_an_error_wherever_the_cut_is(kind, options):
    data = encoded(Image.fromarray(levels()), kind, **options)
    # PNG may lack the mark of its end and the checksum before, JPEG and GIF the mark of their end:
    # the pixels are all there.
    last = len(data) - {"PNG": 21, "JPEG": 3, "GIF": 3}.get(kind, 1)
    tiles = {match.start() for match in re.finditer(b"\xff\x90\0\x0a", data)}  # of JPEG 2000
    for length in {1, 2, 20, 100, len(data) // 2, len(data) - 100, last - 1, last} | tiles:
        with pytest.raises(ValueError, match=r"cut short or damaged|is not a JPEG") as caught:
            load(data[:length])
        assert "\n" not in str(caught.value)


JPEGS = [{}, {"progressive": True}, {"restart_marker_blocks": 2}]


@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("lacking", [1, 2])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_that_lacks_its_end_alone_is_read_with_a_notice(
    tmp_path, options, lacking, orientation
):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "x.jpg"
    data = encoded(Image.fromarray(levels(48, 64)), "JPEG", exif=exif, **options)
    path.write_bytes(data[:-lacking])
    says = r"x\.jpg lacks the last two bytes of a JPEG file, and is read all the same"
    with pytest.warns(UserWarning, match=says) as caught:
        image = jim.load_image(path)
    assert len(caught) == 1
    np.testing.assert_array_equal(image, load(data))


@pytest.mark.parametrize("options", [o for o in JPEGS if "progressive" not in o])
@pytest.mark.parametrize("which", ["noise", "smooth", "black", "white"])
def test_a_jpeg_that_lacks_more_is_an_error_or_the_same_picture(options, which):
    shape = (40, 60, 3)
    pictures = {"smooth": smooth(), "black": np.zeros(shape), "white": np.ones(shape)}
    values = levels(40, 60) if which == "noise" else np.uint8(pictures[which] * 255)
    data = encoded(Image.fromarray(values), "JPEG", **options)
    whole, read = load(data), 0
    lengths = range(len(data) // 2, len(data) - 2, 3)
    for length in lengths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = load(data[:length])
            except ValueError as error:
                assert "damaged" in str(error) or "is not a JPEG" in str(error)
                continue
        read += 1
        np.testing.assert_array_equal(found, whole)
    assert read <= len(lengths) // 4


BAD = {
    "empty": (b"", "is empty"),
    "text": (b"a shopping list\nmilk\n", "AVIF, GIF, JPEG 2000 or HEIC picture: check"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nquit\n%%EOF\n", "is not a JPEG"),
    "psd": (b"8BPS\0\1" + bytes(99), "convert it to PNG"),
    "0x0": (png(0, 0), "cut short or damaged|is not a JPEG"),
    "no pixels": (png(9, 9), "cut short or damaged"),
    "zlib": (png(9, 9, b"not deflated"), "cut short or damaged"),
}


@pytest.mark.parametrize("which", BAD)
def test_bad_file_is_a_one_line_error_that_names_it(tmp_path, which):
    data, says = BAD[which]
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=says) as caught:
        jim.load_image(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.png does not exist"):
        jim.load_image(tmp_path / "nothing.png")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        jim.load_image(tmp_path)


@pytest.mark.parametrize(
    ("error", "says"),
    [(PermissionError(13, "Permission denied"), "is not readable"), (MemoryError(), "memory")],
)
def test_file_that_may_not_be_read(tmp_path, monkeypatch, error, says):
    def refuse(*args):
        raise error

    (tmp_path / "x.png").write_bytes(b"x")
    monkeypatch.setattr(reading, "open", refuse, raising=False)
    with pytest.raises(ValueError, match=rf"x\.png .*{says}"):
        jim.load_image(tmp_path / "x.png")


def test_check_side():
    jim.check_side(np.zeros((16, 99, 3)), "x.png")
    with pytest.raises(ValueError, match=r"x\.png is 99x15 pixels, expected at least 16"):
        jim.check_side(np.zeros((15, 99, 3)), "x.png")
    with pytest.raises(ValueError, match=r"1x1 pixels, expected at least 2"):
        jim.check_side(np.zeros((1, 1, 3)), Path("x.png"), least=2)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_no_file_stays_open():
    opened = []
    for _ in range(2):
        load(encoded(Image.new("RGB", (2, 2)), "TIFF", compression="tiff_lzw"))
        load(Image.new("RGB", (2, 2)), "WEBP")
        for data in (b"text", png(9, 9), tiff_header(9000, 9000)):
            with pytest.raises(ValueError, match="picture"):
                load(data)
        gc.collect()
        opened.append(len(os.listdir("/proc/self/fd")))
    assert opened[0] == opened[1]


SEEDS = [
    encoded(Image.fromarray(levels(9, 7)), kind, **options)
    for kind, options in [
        ("JPEG", {"icc_profile": SWAPPED}),
        ("PNG", {"icc_profile": SWAPPED}),
        ("WEBP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("AVIF", {}),
        ("GIF", {}),
        ("JPEG2000", {"tile_size": (4, 4)}),
        ("MPO", {"save_all": True, "append_images": [Image.new("RGB", (9, 7))]}),
    ]
]


@st.composite
def damaged(draw):
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 8))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(1, len(data)))])


@pytest.mark.filterwarnings("ignore:.*any.jpg :UserWarning")
@given(st.binary(max_size=200) | damaged())
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_picture_or_a_one_line_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.jpg"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "MAX_PIXELS", 2**16)
        try:
            image = jim.load_image(path)
        except ValueError as error:
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)
        else:
            assert image.dtype == np.float32 and image.shape[2:] == (3,)
            assert 0 <= image.min() <= image.max() <= 1


# Saving: errors


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("x.pgn", ValueError, r"x\.pgn has the extension \.pgn, expected one of .*: try \.png"),
        ("x.jpgg", ValueError, r"try \.jpg"),
        (
            "x",
            ValueError,
            r"one of \.jpg, \.jpeg, \.jpe, \.jfif, \.png, \.webp, \.tif, \.tiff, \.bmp, \.avif",
        ),
        ("no/x.png", FileNotFoundError, "does not exist: create it"),
        ("folder.png", IsADirectoryError, "is a folder"),
    ],
)
def test_bad_destination(tmp_path, name, error, says):
    (tmp_path / "folder.png").mkdir()
    for call in (jim.check_output, lambda path: jim.save_image(path, smooth())):
        with pytest.raises(error, match=says) as caught:
            call(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["folder.png"]


def test_avif_is_refused_where_pillow_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: name != "avif")
    for call in (jim.check_output, lambda path: jim.save_image(path, smooth())):
        with pytest.raises(ValueError, match=r"x\.avif: this Pillow was built without AVIF"):
            call(tmp_path / "x.avif")


def test_check_output_leaves_nothing_behind(tmp_path):
    jim.check_output(tmp_path / "x.PNG")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("image", "error", "says"),
    [
        (np.full((4, 4, 3), np.nan, np.float32), ValueError, "NaN"),
        (np.zeros((4, 4), np.float32), ValueError, r"shape \(4, 4\), expected"),
        (np.zeros((4, 4, 5), np.float32), ValueError, r"expected \(height, width, 3 or 4\)"),
        (np.zeros((0, 4, 3), np.float32), ValueError, r"shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.uint8), TypeError, "uint8, expected floating point"),
    ],
)
def test_bad_image_is_not_saved(tmp_path, image, error, says):
    with pytest.raises(error, match=says):
        jim.save_image(tmp_path / "x.png", image)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("ending", "side"), [(".webp", 16_384), (".jpg", 65_536)])
def test_picture_too_long_for_its_format(tmp_path, ending, side):
    with pytest.raises(ValueError, match=rf"{side}x1 pixels as .*: try \.png") as caught:
        jim.save_image(tmp_path / f"x{ending}", np.zeros((1, side, 3), np.float32))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_full_disk_or_interrupt_leaves_the_old_picture(tmp_path, monkeypatch, error):
    def fail(*args):
        raise error

    path = tmp_path / "x.png"
    jim.save_image(path, smooth())
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)):
        jim.save_image(path, smooth() ** 2)
    assert os.listdir(tmp_path) == ["x.png"]
    assert path.read_bytes() == before


def test_loading_leaves_the_warning_filters_alone():
    before = list(warnings.filters)
    load(Image.new("RGB", (2, 2)))
    assert warnings.filters == before

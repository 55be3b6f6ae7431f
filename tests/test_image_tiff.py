"""TIFF files: planes, pages, thumbnails, raw photographs, and their size."""

import struct

import numpy as np
import pytest
from image_helpers import encoded, levels, load, tiff
from PIL import Image

from jaxnst.image import image_size, load_image

tifffile = pytest.importorskip("tifffile", reason="needs jaxnst[print]")

REDUCED, MASK = 1, 4  # of the tag NewSubfileType


def written(tmp_path, *pages, inner=(), bigtiff=False, **options):
    """Write a TIFF file of pages, each an array and its kind, with others inside of the last."""
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as file:
        for i, (values, kind) in enumerate([*pages, *inner]):
            file.write(
                values,
                photometric="rgb",
                subfiletype=kind,
                metadata=None,
                subifds=len(inner) if i == len(pages) - 1 else 0,
                **options,
            )
    return path


# Planes


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("tile", [None, (16, 16)], ids=["strips", "tiles"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("photometric", "extra", "channels"),
    [
        ("rgb", None, 3),
        ("rgb", "unassalpha", 4),
        ("rgb", "assocalpha", 4),
        ("rgb", "unspecified", 4),
        ("separated", None, 4),
    ],
)
def test_planes_are_read_as_interleaved_samples_are(
    tmp_path, photometric, extra, channels, bits, order, tile, compression
):
    values = levels(40, 56)[..., [0, 1, 2, 0]][..., :channels].astype(f"u{bits // 8}")
    values[..., -1] = np.maximum(values[..., -1], 200)
    if extra == "assocalpha":
        values[..., :3] = np.minimum(values[..., :3], values[..., 3:])
    values = values * (257 if bits == 16 else 1)
    options = {"photometric": photometric, "compression": compression, "byteorder": order}
    options |= {"tile": tile, "metadata": None} | ({"extrasamples": (extra,)} if extra else {})
    found = []
    for planes in ("contig", "separate"):
        laid = values if planes == "contig" else np.ascontiguousarray(np.moveaxis(values, -1, 0))
        tifffile.imwrite(tmp_path / "x.tif", laid, planarconfig=planes, **options)
        found.append(load_image(tmp_path / "x.tif", alpha=True))
    if photometric == "rgb" and extra != "assocalpha":
        scale = 255 if bits == 8 else 65535
        np.testing.assert_allclose(found[1][..., :3], values[..., :3] / scale, atol=1e-6)
    np.testing.assert_allclose(found[1], found[0], atol=1.01 / 255)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_gray_with_alpha_in_planes_is_refused(tmp_path, compression):
    values = np.moveaxis(levels()[..., :2], -1, 0)
    tifffile.imwrite(
        tmp_path / "x.tif",
        np.ascontiguousarray(values),
        photometric="minisblack",
        planarconfig="separate",
        extrasamples=("unassalpha",),
        compression=compression,
        metadata=None,
    )
    with pytest.raises(
        ValueError, match=r"x\.tif keeps gray and transparency in separate planes"
    ) as caught:
        load_image(tmp_path / "x.tif")
    assert "\n" not in str(caught.value)


# Pages


def pictures():
    """A thumbnail and a picture."""
    return levels(8, 12, seed=1), levels(24, 36, seed=2)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("nested", "bigtiff"),
    [(False, False), (False, True), (True, False)],
    ids=["next page", "BigTIFF", "inside of the page"],
)
def test_the_page_that_is_no_thumbnail_is_read(tmp_path, nested, bigtiff, compression):
    small, large = pictures()
    pages = [(small, REDUCED)] if nested else [(small, REDUCED), (large, 0)]
    inner = [(small, REDUCED), (large, 0)] if nested else []
    path = written(tmp_path, *pages, inner=inner, compression=compression, bigtiff=bigtiff)
    np.testing.assert_array_equal(load_image(path) * 255, large)
    assert image_size(path) == large.shape[:2]


@pytest.mark.parametrize(("tag", "kind"), [(254, MASK), (255, 2)], ids=["mask", "old way"])
def test_other_marks_of_what_is_no_picture(tmp_path, tag, kind):
    small, large = pictures()
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as file:
        extra = [(tag, "H", 1, kind, True)]
        file.write(small, photometric="rgb", metadata=None, extratags=extra)
        file.write(large, photometric="rgb", metadata=None)
    np.testing.assert_array_equal(load_image(path) * 255, large)


@pytest.mark.parametrize("nested", [False, True], ids=["pages", "inside of the page"])
def test_of_a_pyramid_the_full_picture_is_read(tmp_path, nested):
    small, large = pictures()
    pages = [(large, 0)] if nested else [(large, 0), (small, REDUCED)]
    path = written(tmp_path, *pages, inner=[(small, REDUCED)] if nested else [])
    np.testing.assert_array_equal(load_image(path) * 255, large)


def test_a_file_of_nothing_but_a_thumbnail_is_read(tmp_path):
    small, _ = pictures()
    path = written(tmp_path, (small, REDUCED))
    np.testing.assert_array_equal(load_image(path) * 255, small)


def test_pages_in_a_circle_end(tmp_path):
    small, _ = pictures()
    path = written(tmp_path, (small, REDUCED), (small, REDUCED))
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        last = file.pages[1]
        after = last.offset + 2 + 12 * len(last.tags)
    data[after : after + 4] = data[4:8]
    path.write_bytes(data)
    np.testing.assert_array_equal(load_image(path) * 255, small)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_second_page_does_not_spoil_the_first(tmp_path, seed):
    small, large = pictures()
    path = written(tmp_path, (large, 0), (small, 0))
    data = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        second = file.pages[1].offset
    noise = np.random.default_rng(seed).integers(0, 256, len(data) - second, dtype=np.uint8)
    path.write_bytes(data[:second] + (b"\x05\x00" + noise.tobytes())[: len(data) - second])
    np.testing.assert_array_equal(load_image(path) * 255, large)
    path.write_bytes(data[: second + 1])
    np.testing.assert_array_equal(load_image(path) * 255, large)


# Raw photographs


def raw_files(tmp_path):
    """Files that are built as cameras build theirs, by the endings of their names."""
    small, _ = pictures()
    files = {}
    for ending, photometric in ((".nef", 32803), (".arw", 32803), (".dng", 34892)):
        path = tmp_path / f"x{ending}"
        sensor = np.zeros((24, 36, 3) if photometric == 34892 else (24, 36), np.uint16)
        version = [(50706, "B", 4, bytes([1, 4, 0, 0]), True)] if ending == ".dng" else []
        with tifffile.TiffWriter(path) as file:
            file.write(
                small,
                photometric="rgb",
                subfiletype=REDUCED,
                subifds=1,
                metadata=None,
                extratags=version,
            )
            file.write(sensor, photometric=photometric, planarconfig="contig", metadata=None)
        files[ending] = path.read_bytes()
    preview = tiff(12, 8, small.tobytes(), bits=(8, 8, 8), photometric=2)
    at = struct.unpack("<I", preview[4:8])[0]
    files[".cr2"] = preview[:4] + struct.pack("<I", at + 8) + b"CR\2\0" + bytes(4) + preview[8:]
    files[".cr3"] = struct.pack(">I", 24) + b"ftypcrx " + bytes(200)
    files[".raf"] = b"FUJIFILMCCD-RAW 0201" + encoded(Image.new("RGB", (9, 9)), "JPEG")
    return files


@pytest.mark.parametrize("ending", [".nef", ".arw", ".dng", ".cr2", ".cr3", ".raf"])
@pytest.mark.parametrize("read", [load_image, image_size])
def test_a_raw_photograph_is_refused_as_one(tmp_path, ending, read):
    path = tmp_path / f"photo{ending}"
    path.write_bytes(raw_files(tmp_path)[ending])
    with pytest.raises(ValueError, match="is a raw photograph, which is not read") as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "JPEG, PNG or TIFF" in message and "\n" not in message


def test_a_first_directory_beyond_the_end_is_an_error_in_one_line():
    with pytest.raises(ValueError, match=r"is not a JPEG|damaged") as caught:
        load(b"II*\0" + struct.pack("<I", 10**6) + bytes(100))
    assert "\n" not in str(caught.value)

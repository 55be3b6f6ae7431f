"""PNG files: what stands beside the pixels, and colors that are stated by numbers."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from image_helpers import EXACT, SRGB, SWAPPED, chunk, encoded, levels, load, to_srgb
from PIL import Image
from test_record import make as make_record

from jaxnst.image import image_size, load_image, read_record, reading_bytes, save_image
from jaxnst.image.png import LONGEST

LONG = b"a long text " * 150_000  # 1.8 MB, of which Pillow reads 1 MiB
PICTURE = levels(8, 12)
EXIF_6 = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
XMP_6 = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'

HEX_6 = b"\nexif\n  26\n" + (b"Exif\0\0" + EXIF_6).hex().encode()


def png(before=b"", after=b"", pixels=PICTURE):
    """Build a PNG file with chunks before and after its pixels."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[1 if pixels.ndim == 2 else pixels.shape[2]]
    data = encoded(Image.fromarray(pixels, mode) if mode == "L" else Image.fromarray(pixels), "PNG")
    end = len(data) - 12
    return data[:33] + before + data[33:end] + after + data[end:]


def compressed(name, keyword, text):
    packed = zlib.compress(text)
    between = {b"zTXt": b"\0\0", b"iTXt": b"\0\1\0\0\0", b"iCCP": b"\0\0"}[name]
    return chunk(name, keyword + between + packed)


def long_profile():
    """A profile of sRGB's green in the place of red, with much that nobody reads."""
    return struct.pack(">I", len(SWAPPED) + len(LONG)) + SWAPPED[4:] + LONG


BESIDE = {
    "zTXt": compressed(b"zTXt", b"Comment", LONG),
    "iTXt": compressed(b"iTXt", b"XML:com.adobe.xmp", LONG),
    "tEXt": chunk(b"tEXt", b"workflow\0" + 40 * LONG),  # 72 MB
    "exif": compressed(b"zTXt", b"Raw profile type exif", LONG),
    "record": compressed(b"iTXt", b"jaxnst", LONG),
    "text": chunk(b"tEXt", b"Comment\0hello", damaged=True),
    "size on paper": chunk(b"pHYs", struct.pack(">IIB", 1000, 1000, 1), damaged=True),
    "unknown": chunk(b"exPL", b"whatever", damaged=True),
    "short gAMA": chunk(b"gAMA", b"\0\0"),
    "short cHRM": chunk(b"cHRM", b"\0\0"),
    "short tRNS": chunk(b"tRNS", b"\0\0"),
    "method": chunk(b"zTXt", b"Comment\0\7garbage"),
    "not deflated": chunk(b"iCCP", b"x\0\0garbage"),
    "too long": chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(LONGEST + 1))),
    "animation": chunk(b"acTL", bytes(8)) + chunk(b"fcTL", b"short"),
}


@pytest.mark.parametrize("which", BESIDE)
@pytest.mark.parametrize("after", [False, True], ids=["before the pixels", "after the pixels"])
def test_what_stands_beside_the_pixels_does_not_spoil_them(which, after):
    data = png(after=BESIDE[which]) if after else png(BESIDE[which])
    np.testing.assert_array_equal(load(data) * 255, PICTURE)


@pytest.mark.parametrize("name", ["iCCP", "cICP", "gAMA", "cHRM", "sRGB", "tRNS", "eXIf"])
def test_a_damaged_chunk_that_matters_is_left_out_with_a_notice(tmp_path, name):
    path = tmp_path / "x.png"
    path.write_bytes(png(chunk(name.encode(), bytes(32), damaged=True)))
    with pytest.warns(UserWarning, match=rf"x\.png has a damaged {name} chunk, which is left out"):
        image = load_image(path)
    np.testing.assert_array_equal(image * 255, PICTURE)


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE"])
def test_a_damaged_chunk_that_is_needed_is_an_error(name):
    palette = encoded(Image.fromarray(PICTURE).convert("P"), "PNG")
    at = palette.index(name) + 4
    data = palette[:at] + bytes([palette[at] ^ 1]) + palette[at + 1 :]
    with pytest.raises(ValueError, match=r"is not a JPEG|damaged"):
        load(data)


def test_a_large_profile_is_used():
    data = png(compressed(b"iCCP", b"x", long_profile()), pixels=PICTURE)
    swapped = load(png(compressed(b"iCCP", b"x", SWAPPED)))
    assert np.abs(swapped * 255 - PICTURE).max() > 50
    np.testing.assert_array_equal(load(data), swapped)


@pytest.mark.parametrize(
    "oriented",
    [
        chunk(b"eXIf", EXIF_6),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP_6),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP_6 + 2 * LONG),
        compressed(b"zTXt", b"Raw profile type exif", HEX_6),
    ],
    ids=["eXIf", "XMP", "long XMP", "zTXt"],
)
@pytest.mark.parametrize("after", [False, True], ids=["before the pixels", "after the pixels"])
def test_orientation_is_heeded_wherever_it_stands(tmp_path, oriented, after):
    path = tmp_path / "x.png"
    path.write_bytes(png(after=oriented) if after else png(oriented))
    np.testing.assert_array_equal(load_image(path) * 255, np.rot90(PICTURE, -1))
    assert image_size(path) == (12, 8)


def test_size_and_memory_are_read_without_the_pixels(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(png()[:60])  # in the middle of them
    assert image_size(path) == (8, 12)
    assert reading_bytes(path) == 32 * 8 * 12


def test_a_record_is_read_beside_what_is_long_or_damaged(tmp_path):
    path = tmp_path / "x.png"
    record = make_record()
    save_image(path, PICTURE / np.float32(255), record=record)
    data = path.read_bytes()
    path.write_bytes(data[:33] + BESIDE["zTXt"] + BESIDE["text"] + data[33:])
    assert read_record(path) == record


# Colors by numbers


def by_matrix(values, to_linear, matrix):
    """sRGB in float64, from a matrix that others published."""
    return to_srgb(np.clip(to_linear(values / 255) @ np.transpose(matrix), 0, 1))


def srgb_curve(v):
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


SAME = np.eye(3)
# CSS Color 4, sample code for color conversions.
P3 = [
    [1.2249401762805598, -0.2249401762805598, 0],
    [-0.0420569547096880, 1.0420569547096880, 0],
    [-0.0196375545903344, -0.0786360455506319, 1.0982736001409663],
]
BT2020 = [
    [1.6604910021084345, -0.5876411387885495, -0.0728498633198850],
    [-0.1245504745215907, 1.1328998971259603, -0.0083494226043695],
    [-0.0181507633549053, -0.1005788980080075, 1.1187296613629127],
]
P3_XY = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
SRGB_XY = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


def cicp(*numbers):
    return chunk(b"cICP", bytes(numbers))


def gama(number):
    return chunk(b"gAMA", struct.pack(">I", number))


def chrm(numbers):
    return chunk(b"cHRM", struct.pack(">8I", *numbers))


STATED = {
    "Display P3": (cicp(12, 13, 0, 1), srgb_curve, P3),
    "BT.2020": (cicp(9, 1, 0, 1), srgb_curve, BT2020),
    "linear": (cicp(1, 8, 0, 1), lambda v: v, SAME),
    "gamma 2.8": (cicp(1, 5, 0, 1), lambda v: v**2.8, SAME),
    "linear P3": (cicp(12, 8, 0, 1), lambda v: v, P3),
    "gAMA 1": (gama(100_000), lambda v: v, SAME),
    "gAMA 1.8": (gama(55_556), lambda v: v ** (1e5 / 55_556), SAME),
    "gAMA with cHRM": (gama(45_455) + chrm(P3_XY), lambda v: v ** (1e5 / 45_455), P3),
    "cICP over a profile": (
        cicp(12, 13, 0, 1) + compressed(b"iCCP", b"x", SWAPPED),
        srgb_curve,
        P3,
    ),
}


@pytest.mark.parametrize("which", STATED)
def test_colors_stated_by_numbers_are_converted(which):
    stated, to_linear, matrix = STATED[which]
    expected = by_matrix(PICTURE, to_linear, matrix)
    assert np.abs(expected - PICTURE / 255).max() > 0.05
    np.testing.assert_allclose(load(png(stated)), expected, atol=2e-4)  # of rounded matrices


@pytest.mark.parametrize(
    "stated",
    [
        cicp(1, 13, 0, 1),
        cicp(1, 1, 0, 1),
        gama(45_455),
        gama(45_455) + chrm(SRGB_XY),
        gama(100_000) + chunk(b"sRGB", b"\0"),
        chrm(P3_XY),  # without gAMA it says nothing
        gama(0),
        gama(100_000) + compressed(b"iCCP", b"x", SRGB),
    ],
    ids=["cICP", "BT.709", "gAMA", "cHRM", "sRGB over gAMA", "cHRM alone", "gAMA 0", "iCCP"],
)
def test_what_states_srgb_or_nothing_changes_nothing(stated):
    np.testing.assert_array_equal(load(png(stated)) * 255, PICTURE)


@pytest.mark.parametrize(
    "numbers",
    [(0,) * 8, (1,) * 8, (2**32 - 1,) * 8, (31270, 0, *P3_XY[2:]), (0, 0, *P3_XY[2:])],
)
def test_chromaticities_of_no_color_space_are_passed_over(numbers):
    np.testing.assert_array_equal(load(png(gama(45_455) + chrm(numbers))) * 255, PICTURE)


def test_gray_alpha_and_sixteen_bits_go_with_numbers(tmp_path):
    gray = np.arange(0, 256, 5, dtype=np.uint8)[None]
    expected = by_matrix(np.repeat(gray[0][:, None], 3, axis=1), lambda v: v, SAME)
    for values in (gray, gray.astype(np.uint16) * 257):
        data = encoded(Image.fromarray(values), "PNG")
        found = load(data[:33] + gama(100_000) + data[33:])
        np.testing.assert_allclose(found[0], expected, atol=5 * EXACT)
    clear = np.concatenate([PICTURE, np.full((8, 12, 1), 51, np.uint8)], axis=-1)
    path = tmp_path / "x.png"
    path.write_bytes(png(gama(100_000), pixels=clear))
    found = load_image(path, alpha=True)
    np.testing.assert_allclose(found[..., :3], by_matrix(PICTURE, lambda v: v, SAME), atol=1e-5)
    np.testing.assert_allclose(found[..., 3], 0.2, atol=EXACT)


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        (cicp(9, 16, 0, 1), r"\(PQ\)"),
        (cicp(9, 18, 0, 1), r"\(HLG\)"),
        (cicp(9, 99, 0, 1), r"\(cICP 9, 99, 0, 1\)"),
        (cicp(99, 13, 0, 1), r"\(cICP 99, 13, 0, 1\)"),
        (cicp(1, 13, 0, 0), r"\(cICP 1, 13, 0, 0\)"),
    ],
)
def test_colors_that_are_not_converted_are_read_as_srgb_with_a_notice(tmp_path, stated, says):
    path = tmp_path / "x.png"
    path.write_bytes(png(stated))
    with pytest.warns(UserWarning, match=rf"x\.png has colors .*{says}.* read as sRGB") as caught:
        image = load_image(path)
    assert len(caught) == 1
    np.testing.assert_array_equal(image * 255, PICTURE)


def test_a_profile_stands_in_for_what_is_not_converted():
    profile = compressed(b"iCCP", b"x", SWAPPED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load(png(cicp(9, 16, 0, 1) + profile))
    np.testing.assert_array_equal(found, load(png(profile)))

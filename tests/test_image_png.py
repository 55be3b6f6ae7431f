"""PNG files: what stands beside the pixels."""

import struct
import zlib

import numpy as np
import pytest
from image_helpers import SWAPPED, encoded, levels, load
from PIL import Image
from test_record import make as make_record

from jaxnst.image import image_size, load_image, read_record, save_image
from jaxnst.image.png import LONGEST

LONG = b"a long text " * 150_000  # 1.8 MB, of which Pillow reads 1 MiB
PICTURE = levels(8, 12)
EXIF_6 = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
XMP_6 = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'

HEX_6 = b"\nexif\n  26\n" + (b"Exif\0\0" + EXIF_6).hex().encode()


def chunk(name, body, *, damaged=False):
    checksum = zlib.crc32(name + body) ^ damaged
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


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
    with pytest.raises(ValueError, match=r"holds no|damaged"):
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


def test_a_record_is_read_beside_what_is_long_or_damaged(tmp_path):
    path = tmp_path / "x.png"
    record = make_record()
    save_image(path, PICTURE / np.float32(255), record=record)
    data = path.read_bytes()
    path.write_bytes(data[:33] + BESIDE["zTXt"] + BESIDE["text"] + data[33:])
    assert read_record(path) == record

"""Pictures for tests: arrays, and files built byte by byte where Pillow cannot write them."""

import io
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from jaxnst.image import load_image

EXACT = 1e-7  # one rounding of a value in [0, 1] to float32


def levels(height=20, width=24, seed=0):
    """8-bit noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height=40, width=60):
    """Gradients that lossy formats keep."""
    y, x = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
    return np.stack([x, y, 0.5 + 0 * x], axis=-1).astype(np.float32)


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def load(picture, kind="PNG", *, alpha=False, **options):
    """Load a Pillow picture, or bytes, by way of a file."""
    data = picture if isinstance(picture, bytes) else encoded(picture, kind, **options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture")
        path.write_bytes(data)
        return load_image(path, alpha=alpha)


def to_srgb(linear):
    """IEC 61966-2-1."""
    linear = np.asarray(linear, np.float64)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def tiff(width, height, pixels, *, bits, photometric=1, sample_format=None, order="<", extra=None):
    """Build an uncompressed TIFF of one strip."""
    tags = {
        256: [width],
        257: [height],
        258: list(bits),
        259: [1],
        262: [photometric],
        273: [8],
        277: [len(bits)],
        278: [height],
        279: [len(pixels)],
        **(extra or {}),
    }
    if sample_format:
        tags[339] = [sample_format]
    entries, blobs, at = b"", b"", 8 + len(pixels) + 2 + 12 * len(tags) + 4
    for tag in sorted(tags):
        packed = struct.pack(f"{order}{len(tags[tag])}H", *tags[tag])
        if len(packed) > 4:
            packed, blobs = struct.pack(f"{order}I", at + len(blobs)), blobs + packed
        entries += struct.pack(f"{order}HHI", tag, 3, len(tags[tag])) + packed.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, 8 + len(pixels))
    count = struct.pack(f"{order}H", len(tags))
    return head + pixels + count + entries + bytes(4) + blobs


def one_row(image):
    assert (image == image[..., :1]).all()
    return image[0, :, 0]


def chunk(name, body, *, damaged=False):
    """Build a chunk of a PNG file."""
    checksum = zlib.crc32(name + body) ^ damaged
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def png(width, height, data=b""):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", data) if data else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def jpeg_header(width, height):
    data = encoded(Image.new("L", (8, 8)), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def bmp_header(width, height):
    data = encoded(Image.new("RGB", (8, 8)), "BMP")
    return data[:18] + struct.pack("<II", width, height) + data[26:]


def webp_header(width, height):
    data = encoded(Image.new("RGB", (8, 8)), "WEBP")
    at = data.index(b"\x9d\x01\x2a") + 3
    return data[:at] + struct.pack("<HH", min(width, 16383), min(height, 16383)) + data[at + 4 :]


def gif_header(width, height):
    data = encoded(Image.new("L", (8, 8)), "GIF")
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


def jpeg_2000_header(width, height):
    data = encoded(Image.new("L", (8, 8)), "JPEG2000", no_jp2=True)
    at = data.index(b"\xff\x51") + 6
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def tiff_header(width, height):
    return tiff(width, height, bytes(16), bits=(8, 8, 8), photometric=2)


# Color profiles


def profile(space, tags, kind=b"mntr", connection=b"XYZ "):
    """Build an ICC profile, version 2, from its tags' data."""
    table, blobs = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        at = 128 + 4 + 12 * len(tags) + len(blobs)
        table += name + struct.pack(">II", at, len(data))
        blobs += data + bytes(-len(data) % 4)
    size = 128 + len(table) + len(blobs)
    head = struct.pack(">I4xI", size, 0x02400000) + kind + space + connection
    head += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    return head + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D) + bytes(48) + table + blobs


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = SRGB.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
"""A profile whose red is sRGB's green, and the other way round."""
WHITE = {b"wtpt": b"XYZ " + struct.pack(">4xIII", 0xF6D6, 0x10000, 0xD32D)}
LINEAR_GRAY = profile(b"GRAY", {**WHITE, b"kTRC": b"curv" + struct.pack(">4xI", 0)})


def cmyk_profile():
    """Build a profile in which cyan alone makes black: a table of two points per ink, to Lab."""
    corners = b"".join(bytes([255 * (1 - (i >> 3)), 128, 128]) for i in range(16))  # cyan first
    unit = struct.pack(">9i", *(0x10000 * (i % 4 == 0) for i in range(9)))
    ramp = bytes(range(256))
    table = b"mft1" + struct.pack(">4x4B", 4, 3, 2, 0) + unit + 4 * ramp + corners + 3 * ramp
    return profile(b"CMYK", {**WHITE, b"A2B0": table}, b"prtr", b"Lab ")

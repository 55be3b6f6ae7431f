"""PNG files: Pillow decodes the pixels, the chunks beside them are read here.

Pillow refuses a whole picture for a long text or profile, or for a wrong checksum, beside the
pixels. So it sees the file without its ancillary chunks. As in libpng, an ancillary chunk with a
wrong checksum is left out.
"""

import io
import struct
import zlib
from collections.abc import Container
from typing import Any, BinaryIO

from PIL import Image

from jaxnst.image.record import KEYWORD

MARK = b"\x89PNG\r\n\x1a\n"

LONGEST = 2**25
"""Most bytes of an ancillary chunk that are read, and of a text or profile when it is unpacked."""

_COLOR_TYPE = 25
_XMP, _HEX_EXIF = b"XML:com.adobe.xmp", b"Raw profile type exif"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_READ = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"tRNS", b"eXIf", *_TEXTS)


def open_png(file: BinaryIO) -> Image.Image:
    """Open a PNG file.

    Returns:
      The picture. Its ``info`` has the colors, the orientation and the record that stand beside the
      pixels, and as ``damaged_chunks`` the names of chunks that matter but are damaged.
    """
    data = memoryview(file.read())
    parts, damaged, info = [data[: len(MARK)]], list[str](), dict[Any, Any]()
    start = len(MARK)
    while len(name := bytes(data[start + 4 : start + 8])) == 4 and name.isalpha():
        length = int.from_bytes(data[start : start + 4])
        chunk = data[start : start + length + 12]
        kept = name[:1].isupper()
        if name in _READ:
            if length > LONGEST or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
                damaged += [] if name in _TEXTS else [name.decode()]
            elif name == b"tRNS":
                kept = length >= {0: 2, 2: 6}.get(data[_COLOR_TYPE], 0)
            else:
                info = _stated(name, bytes(chunk[8:-4]), info) | info
        if kept:
            parts.append(chunk)
        start += length + 12
    if _HEX_EXIF.decode() not in info:
        info.setdefault("exif", b"")  # else Pillow decodes the pixels to look behind them
    picture = Image.open(io.BytesIO(b"".join(parts)), formats=("PNG",))
    picture.info |= {"damaged_chunks": damaged, **info}
    return picture


def _stated(name: bytes, body: bytes, known: Container[str]) -> dict[str, Any]:
    """Read what an ancillary chunk states, under the key that Pillow has for it.

    Of several chunks that state the same the first counts; the others are not even decompressed.
    """
    if name in _TEXTS:
        return _text(name, body, known)
    if name == b"eXIf":
        return {"exif": body}
    if name == b"sRGB":
        return {"srgb": True}
    if name == b"cICP" and len(body) == 4:
        return {"cicp": tuple(body)}
    if name == b"gAMA" and len(body) == 4:
        return {"gamma": int.from_bytes(body) / 1e5}
    if name == b"cHRM" and len(body) == 32:
        return {"chromaticity": tuple(value / 1e5 for value in struct.unpack(">8I", body))}
    if name == b"iCCP" and "icc_profile" not in known:
        profile = _unpacked(body.partition(b"\0")[2])
        return {"icc_profile": profile} if profile else {}
    return {}


def _text(name: bytes, body: bytes, known: Container[str]) -> dict[str, Any]:
    """Read a text if it is the record or can hold an orientation."""
    keyword, _, text = body.partition(b"\0")
    key = "xmp" if keyword == _XMP else keyword.decode("latin-1")
    if keyword not in (KEYWORD.encode(), _XMP, _HEX_EXIF) or key in known:
        return {}
    if name == b"iTXt":  # flag and method of compression, language, translated keyword, text
        flag, packed = text[:1], text[1:2] + text[2:].split(b"\0", 2)[-1]
        text = packed[1:] if flag == b"\0" else _unpacked(packed)
    elif name == b"zTXt":
        text = _unpacked(text)
    return {key: text if key == "xmp" else text.decode("utf-8", "replace")}


def _unpacked(data: bytes) -> bytes:
    """Decompress what follows its method; nothing if it is damaged or longer than ``LONGEST``."""
    unpack = zlib.decompressobj()
    try:
        unpacked = unpack.decompress(data[1:], LONGEST) if data[:1] == b"\0" else b""
    except zlib.error:
        return b""
    return b"" if unpack.unconsumed_tail else unpacked

"""PNG files without their side chunks, except those that matter to the pixels.

Pillow refuses a whole picture for a long text or profile, or for a wrong checksum beside the
pixels. Here a picture is opened without the chunks that it does not need. As libpng does, a side
chunk with a wrong checksum is left out.
"""

import io
import itertools
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin

MARK = b"\x89PNG\r\n\x1a\n"

KEYWORD = "jaxnst"
"""Of the text that is a picture's record."""

LONGEST = 2**25
"""Most bytes of a side chunk that are read, and of a profile when it is unpacked."""

_HEADER_END = 33
_COLOR_TYPE = 25
_COLORS = (b"iCCP", b"cICP", b"sRGB", b"gAMA", b"cHRM")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_ORIENTED = (b"XML:com.adobe.xmp", b"Raw profile type exif")
"""Keywords of texts that can hold an orientation."""


def open_png(file: BinaryIO, *, record: bool) -> tuple[Image.Image, list[str]]:
    """Open a PNG file; its ``info`` has what side chunks state about colors.

    Args:
      file: The file.
      record: Whether the record is read too, however long it is.

    Returns:
      The picture, and the names of chunks that matter but are damaged.
    """
    side, rest = [(0, _HEADER_END)], list[tuple[int, int]]()
    colors, damaged = dict[bytes, bytes](), list[str]()
    for name, start, length in _chunks(file):
        whole = (start - 8, length + 12)
        if name[:1].isupper():
            rest += [whole] if start > _HEADER_END else []  # all but the header
        elif name in (*_COLORS, *_TEXTS, b"tRNS", b"eXIf"):
            body = _checked(file, name, start, length)
            if body is None:
                damaged += [] if name in _TEXTS else [name.decode()]
            elif name in _COLORS:
                colors.setdefault(name, body)
            elif name == b"tRNS":
                rest += [whole] if _fits(file, body) else []
            elif name == b"eXIf" or _is_read(name, body, record):
                side.append(whole)  # ahead of the pixels, wherever it was
    parts = io.BufferedReader(_Parts(file, side + rest), 2**16)
    picture = Image.open(parts, formats=("PNG",))
    picture.info |= _stated(colors)
    return picture, damaged


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Go through chunks: their names, where their data begin, and how long they are."""
    start = len(MARK) + 8
    while len(head := _read(file, start - 8, 8)) == 8 and head[4:].isalpha():
        length = int.from_bytes(head[:4])
        yield head[4:], start, length
        start += length + 12


def _checked(file: BinaryIO, name: bytes, start: int, length: int) -> bytes | None:
    """Read a side chunk's data, or return None if the checksum is wrong or it is too long."""
    data = _read(file, start, length + 4) if length <= LONGEST else b""
    body, checksum = data[:-4], data[-4:]
    return body if checksum == struct.pack(">I", zlib.crc32(name + body)) else None


def _fits(file: BinaryIO, transparency: bytes) -> bool:
    """Tell whether a chunk of transparent colors is as long as the picture's color type needs."""
    color_type = _read(file, _COLOR_TYPE, 1)
    return len(transparency) >= {b"\0": 2, b"\2": 6}.get(color_type, 0)


def _is_read(name: bytes, body: bytes, record: bool) -> bool:
    """Tell whether a text is the record or has an orientation, at a length that Pillow reads."""
    keyword, _, text = body.partition(b"\0")
    if keyword == KEYWORD.encode():
        return record
    if keyword not in _ORIENTED or (name == b"zTXt" and text[:1] != b"\0"):
        return False
    if name == b"tEXt" or (name == b"iTXt" and text[:1] == b"\0"):
        return True
    packed = text[1:] if name == b"zTXt" else text[2:].split(b"\0", 2)[-1]
    return _unpacked(packed, PngImagePlugin.MAX_TEXT_CHUNK) is not None


def _stated(colors: dict[bytes, bytes]) -> dict[Any, Any]:
    """Unpack what chunks state about colors, under the names that Pillow has for it."""
    stated: dict[Any, Any] = {}
    if len(cicp := colors.get(b"cICP", b"")) == 4:
        stated["cicp"] = tuple(cicp)
    profile = colors.get(b"iCCP", b"").partition(b"\0")[2]
    if profile[:1] == b"\0" and (unpacked := _unpacked(profile[1:], LONGEST)):
        stated["icc_profile"] = unpacked
    if b"sRGB" in colors:
        stated["srgb"] = True
    if len(gamma := colors.get(b"gAMA", b"")) == 4:
        stated["gamma"] = int.from_bytes(gamma) / 1e5
    if len(chromaticity := colors.get(b"cHRM", b"")) == 32:
        stated["chromaticity"] = tuple(value / 1e5 for value in struct.unpack(">8I", chromaticity))
    return stated


def _unpacked(data: bytes, most: int) -> bytes | None:
    """Decompress; None if the data are damaged or longer than ``most`` bytes."""
    unpack = zlib.decompressobj()
    try:
        found = unpack.decompress(data, most)
    except zlib.error:
        return None
    return None if unpack.unconsumed_tail else found


def _read(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


class _Parts(io.RawIOBase):
    """Parts of a file, read as one file.

    Args:
      file: The file.
      parts: Where each begins, and its length.
    """

    def __init__(self, file: BinaryIO, parts: list[tuple[int, int]]) -> None:
        super().__init__()
        self.file, self.parts, self.position = file, parts, 0
        self.ends = list(itertools.accumulate(length for _, length in parts))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.ends[-1]}[whence]
        self.position = begin + offset
        return self.position

    def readinto(self, buffer: Any, /) -> int:
        i = bisect_right(self.ends, self.position)
        if i == len(self.parts):
            return 0
        start, length = self.parts[i]
        left = self.ends[i] - self.position
        data = _read(self.file, start + length - left, min(left, len(buffer)))
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)

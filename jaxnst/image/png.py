"""PNG files: Pillow decodes the pixels, what stands beside them is read here.

Pillow refuses a whole picture for a long text or profile, or for a wrong checksum, beside the
pixels. So it sees the file without its ancillary chunks. As in libpng, an ancillary chunk with a
wrong checksum is left out.
"""

import io
import itertools
import struct
import zlib
from bisect import bisect_right
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

from PIL import Image

from jaxnst.image.record import KEYWORD

MARK = b"\x89PNG\r\n\x1a\n"

LONGEST = 2**25
"""Most bytes of an ancillary chunk that are read, and of a text or profile when it is unpacked."""

_COLOR_TYPE = 25
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_READ = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"tRNS", b"eXIf", *_TEXTS)
_HEX_EXIF = "Raw profile type exif"


def open_png(file: BinaryIO) -> Image.Image:
    """Open a PNG file.

    Returns:
      The picture. Its ``info`` has the colors, the orientation and the record that stand beside the
      pixels, and as ``damaged_chunks`` the names of chunks that matter but are damaged.
    """
    parts, damaged, info = [(0, len(MARK))], list[str](), dict[Any, Any]()
    for name, start, length in _chunks(file):
        kept = name[:1].isupper()
        if name in _READ:
            data = _read(file, start, length + 4) if length <= LONGEST else b""
            body, checksum = data[:-4], data[-4:]
            if checksum != struct.pack(">I", zlib.crc32(name + body)):
                damaged += [] if name in _TEXTS else [name.decode()]
            elif name == b"tRNS":
                needed = {b"\0": 2, b"\2": 6}.get(_read(file, _COLOR_TYPE, 1), 0)
                kept = length >= needed
            else:
                info = _stated(name, body, info) | info
        if kept:
            parts.append((start - 8, length + 12))
    if _HEX_EXIF not in info:
        info.setdefault("exif", b"")  # else Pillow decodes the pixels to look behind them
    picture = Image.open(io.BufferedReader(_Parts(file, parts), 2**16), formats=("PNG",))
    picture.info |= {"damaged_chunks": damaged, **info}
    return picture


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Go through chunks: their names, where their data begin, and how long they are."""
    start = len(MARK) + 8
    while len(head := _read(file, start - 8, 8)) == 8 and head[4:].isalpha():
        length = int.from_bytes(head[:4])
        yield head[4:], start, length
        start += length + 12


def _stated(name: bytes, body: bytes, known: Collection[Any]) -> dict[str, Any]:
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
    if (
        name == b"iCCP"
        and "icc_profile" not in known
        and (profile := _unpacked(body.partition(b"\0")[2]))
    ):
        return {"icc_profile": profile}
    return {}


def _text(name: bytes, body: bytes, known: Collection[Any]) -> dict[str, Any]:
    """Read a text if it is the record or can hold an orientation."""
    keyword, _, text = body.partition(b"\0")
    if keyword not in (KEYWORD.encode(), b"XML:com.adobe.xmp", _HEX_EXIF.encode()):
        return {}
    key = "xmp" if keyword == b"XML:com.adobe.xmp" else keyword.decode()
    if key in known:
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


def _read(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


class _Parts(io.RawIOBase):
    """Parts of a file, each a start and a length, read as one file."""

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

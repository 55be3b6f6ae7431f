"""Whether a file of a film ends where it should, by what it says of the lengths of its parts.

All that FFmpeg tells of a file that was cut short is often that it ends. But files are rows of
parts (boxes, elements, packets, pages) that say how long they are, and one of which the last part
should go on beyond its end was cut. A cut between two parts is seen only where a larger part goes
on. What is no known part ends the search: whatever comes after the film is none of it.
"""

import os
import struct
from collections.abc import Callable

from jaxnst._files import AnyPath

HEAD = 282
"""Bytes at the beginning of a part that are looked at: the longest head of an Ogg page."""

BOXES = (
    *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"ssix", b"prft", b"emsg"),
    *(b"meta", b"uuid", b"udta", b"free", b"skip", b"wide", b"pnot"),
)
"""Of MP4 and QuickTime, outermost."""

SEGMENT, CLUSTER = "18538067", "1f43b675"

ELEMENTS = (
    *(SEGMENT, CLUSTER, "1a45dfa3", "114d9b74", "1549a966", "1654ae6b", "1c53bb6b", "1254c367"),
    *("1043a770", "1941a469", "e7", "a3", "a0", "a7", "ab", "af", "5854", "ec", "bf"),
)
"""Of Matroska, outside of clusters and in them."""

OBJECTS = (b"\x30\x26\xb2\x75", b"\x36\x26\xb2\x75", b"\x90\x08\x00\x33", b"\xd3\x29\xe2\xd6")
"""Beginnings of ASF's names for header, data and indices."""

TAGS = (8, 9, 18)
"""Of FLV: sound, pictures and words."""

SYNC = 0x47

STRIDES = {188: 0, 192: 4, 204: 0}
"""From one packet of MPEG-TS to the next, and how far in it SYNC is."""

ROW = 8
"""As many packets show that there are packets."""


def cut_off(path: AnyPath, container: str) -> bool:
    """Tell whether a file ends in the middle of one of its parts.

    Args:
      path: The file.
      container: What FFmpeg calls its kind.

    Returns:
      False also where nothing can be told.
    """
    kind = container.split(",")[0]
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if kind == "mpegts":
            file.seek(max(0, size - (ROW + 2) * max(STRIDES)))
            return _in_packet(file.read())
        length_of, at = LENGTHS.get(kind), 0
        while length_of is not None and at < size:
            file.seek(at)
            head = file.read(HEAD)
            if not head.strip(b"\0"):
                return False
            length = length_of(head.ljust(HEAD, b"\0"))
            if not length:
                return False
            at += length
        return at > size


def _box(head: bytes) -> int:
    """Return how long a box of MP4 is, 0 if it goes to the end or is none."""
    length, kind, long = struct.unpack_from(">I4sQ", head)
    if kind not in BOXES:
        return 0
    return long if length == 1 else length


def _element(head: bytes) -> int:
    """Return how far it is from an element of Matroska to the next; 0 if it is none.

    One of unknown length is gone into, as is what it belongs to.
    """
    width = 9 - head[0].bit_length()
    more = 9 - head[width].bit_length()
    kind = head[:width].hex()
    if kind not in ELEMENTS or more > 8:
        return 0
    unknown = (1 << 7 * more) - 1
    length = int.from_bytes(head[width : width + more]) & unknown
    if length == unknown:
        return width + more if kind in (SEGMENT, CLUSTER) else 0
    return width + more + length


def _riff(head: bytes) -> int:
    """Return how long a list of AVI is, 0 if it does not say or is none."""
    kind, length = struct.unpack_from("<4sI", head)
    return 8 + length if kind == b"RIFF" and 0 < length < 2**32 - 1 else 0


def _object(head: bytes) -> int:
    """Return how long an object of ASF is, 0 if it does not say or is none."""
    length: int = struct.unpack_from("<Q", head, 16)[0]
    return length if head[:4] in OBJECTS else 0


def _tag(head: bytes) -> int:
    """Return how long a tag of FLV is, with the length of the one before; 0 if it is none."""
    if head[:3] == b"FLV":
        return int.from_bytes(head[5:9])
    if not any(head[4:15]):
        return 4  # the length of the last tag
    return 15 + int.from_bytes(head[5:8]) if head[4] & 31 in TAGS else 0


def _pack(head: bytes) -> int:
    """Return how long a packet of MPEG-PS, or the head of a pack, is; 0 if it is neither."""
    if head[:3] != b"\0\0\1" or head[3] < 0xB9:
        return 0
    if head[3] == 0xB9:
        return 4
    if head[3] == 0xBA:
        return 14 + (head[13] & 7) if head[4] >> 6 == 1 else 12
    return 6 + int.from_bytes(head[4:6])


def _page(head: bytes) -> int:
    """Return how long a page of Ogg is, 0 if it is none."""
    return 27 + head[26] + sum(head[27 : 27 + head[26]]) if head[:4] == b"OggS" else 0


def _in_packet(tail: bytes) -> bool:
    """Tell whether what ends a file of MPEG-TS ends in the middle of a packet."""
    for stride, first in STRIDES.items():
        for rest in range(stride):
            begins = [len(tail) - rest - i * stride + first for i in range(ROW + 1)]
            whole = begins[1:] if rest <= first else begins
            if whole[-1] >= 0 and all(tail[at] == SYNC for at in whole):
                return rest > 0
    return False


LENGTHS: dict[str, Callable[[bytes], int]] = {
    "mov": _box,
    "matroska": _element,
    "avi": _riff,
    "asf": _object,
    "flv": _tag,
    "mpeg": _pack,
    "ogg": _page,
}
"""From the head of a part to how far the next is from there, by container."""

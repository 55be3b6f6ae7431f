"""TIFF files: which page is the picture, raw photographs refused, and planes of samples."""

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from PIL import Image, TiffImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Directory

MARKS = (b"II*\0", b"II\0*", b"MM\0*", b"MM*\0", b"II+\0", b"MM\0+")
"""First bytes of files that Pillow reads as TIFF; the last two: BigTIFF."""

MOST_PAGES = 64
"""Directories of a file that are looked at."""

MOST_BYTES = 2**24
"""Most bytes of a directory that are looked at, outside of its own entries."""

_RAW = (
    "is a raw photograph, which is not read: develop it with a raw converter, save it as JPEG, "
    "PNG or TIFF, and use that"
)
_RAW_MARKS = (
    (0, (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")),
    (4, (b"ftypcrx ",)),  # Canon's CR3
    (8, (b"CR\x02",)),  # Canon's CR2, a TIFF file otherwise
)

_NEW_KIND, _OLD_KIND, _PHOTOMETRIC, _PLANES, _INNER, _DNG = 254, 255, 262, 284, 330, 50706
_TAGS = (_NEW_KIND, _OLD_KIND, _PHOTOMETRIC, _PLANES, _INNER, _DNG)
_REDUCED, _MASK, _OLD_REDUCED, _SEPARATE = 1, 4, 2, 2
_COLOR_FILTERS, _LINEAR_RAW = 32803, 34892


class UnreadError(Exception):
    """A picture of a kind that is not read; the message says why, and what to do."""


def refuse_raw(head: bytes) -> None:
    """Raise UnreadError if the first 16 bytes of a file are those of a raw photograph."""
    if any(head[start:].startswith(marks) for start, marks in _RAW_MARKS):
        raise UnreadError(_RAW)


def open_tiff(file: BinaryIO) -> Image.Image:
    """Open a TIFF file at its first page that is not marked as a thumbnail or a mask.

    Raises:
      UnreadError: It is a raw photograph, of which only a preview could be read, or gray with
        transparency in separate planes.
    """
    pages = list(_pages(file))
    for _, tags in pages:
        if _DNG in tags or tags.get(_PHOTOMETRIC) in (_COLOR_FILTERS, _LINEAR_RAW):
            raise UnreadError(_RAW)
    number = next((i for i, (_, tags) in enumerate(pages) if _is_picture(tags)), 0)
    separate = bool(pages) and pages[number][1].get(_PLANES) == _SEPARATE
    file.seek(0)
    # Pillow's own decoder takes samples of 16 bits for 8 where each color has its own plane.
    TiffImagePlugin.READ_LIBTIFF = separate
    try:
        picture = Image.open(file, formats=("TIFF",))
        if number > 0 and isinstance(picture, TiffImagePlugin.TiffImageFile):
            # As Pillow opens embedded pictures: seek() does not reach those inside of a page.
            picture._frame_pos[0] = pages[number][0]
            picture._seek(0)
    finally:
        TiffImagePlugin.READ_LIBTIFF = False
    if separate and picture.mode in ("LA", "PA"):
        raise UnreadError(
            "keeps gray and transparency in separate planes, which is not read: save it "
            "interleaved, or as PNG"
        )
    return picture


def _pages(file: BinaryIO) -> Iterator[tuple[int, dict[int, Any]]]:
    """Go through the pages of a file, then the pictures inside of them: offset, and some tags."""
    file.seek(0)
    head = file.read(16)
    head = head[: 16 if b"+" in head[2:4] else 8]
    end = file.seek(0, os.SEEK_END)
    following, inner, seen = [Directory(head).next], list[int](), {0}
    while queue := following or inner:
        offset = queue.pop(0)
        if offset in seen or offset >= end or len(seen) > MOST_PAGES:
            continue
        seen.add(offset)
        directory = Directory(head)
        directory._tag_data_limit = MOST_BYTES  # of Pillow's newer versions
        file.seek(offset)
        try:
            directory.load(file)
            tags: dict[int, Any] = {tag: directory[tag] for tag in _TAGS if tag in directory}
        except Exception:  # A damaged directory says nothing about the others.
            continue
        yield offset, tags
        more = tags.get(_INNER, ())
        inner += more if isinstance(more, tuple) else [more]
        if queue is following:
            following.append(directory.next)


def _is_picture(tags: dict[int, Any]) -> bool:
    """Return whether a page is marked as neither a thumbnail nor a mask."""
    kind = tags.get(_NEW_KIND, 0)
    marked = isinstance(kind, int) and kind & (_REDUCED | _MASK)
    return not marked and tags.get(_OLD_KIND) != _OLD_REDUCED

"""Versions: pictures that were kept, in a folder, each a PNG file with its record.

Beside them ``pictures/`` has a copy of every picture that they were made of, named by its SHA-256
digest, so that a version can be painted again from the folder alone.
"""

import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxnst._files import AnyPath, replace_file
from jaxnst.image import READ_ENDINGS, image_size, load_image, read_record, resize, save_image
from jaxnst.image.color import Pixels
from jaxnst.image.exchange import jpeg_bytes
from jaxnst.image.record import Record
from jaxnst.report.contact_sheet import on_white

NAME = re.compile(r"version-(\d{3,9})\.png")

DELETED = "deleted"
"""Folder, beside the versions, of those that were deleted on the page."""

SMALL = 240
"""Longest side of a version in the page's list, pixels."""


@dataclass(frozen=True, eq=False)
class Version:
    """A picture that was kept, with its number, from 1, which is part of its file's name.

    The record says how it was made; None: its file does not.
    """

    number: int
    path: Path
    size: tuple[int, int]
    record: Record | None

    @property
    def kind(self) -> str:
        """``sweep`` for a sheet of variations, else ``picture``."""
        made = self.record is not None and self.record.arguments.get("command") == "sweep"
        return "sweep" if made else "picture"


class Versions:
    """The versions of a folder, those of earlier sessions included; it is made with the first."""

    def __init__(self, folder: AnyPath) -> None:
        self.folder = Path(folder)
        self._lock = threading.Lock()
        self._versions = {version.number: version for version in self._read()}
        self._small: dict[int, bytes] = {}

    def __iter__(self) -> Iterator[Version]:
        return iter(list(self._versions.values()))

    def __getitem__(self, number: int) -> Version:
        """Return the version of a number; raise KeyError if there is none."""
        if number not in self._versions:
            raise KeyError(f"there is no version {number}")
        return self._versions[number]

    def _read(self) -> Iterator[Version]:
        names = sorted(os.listdir(self.folder)) if self.folder.is_dir() else []
        for path in (self.folder / name for name in names):
            if match := NAME.fullmatch(path.name):
                try:
                    yield Version(int(match[1]), path, image_size(path), read_record(path))
                except (OSError, ValueError):
                    continue  # not a picture, or of another program

    def add(self, image: Pixels, record: Record) -> Version:
        """Save a picture, ``(H, W, 3)`` or ``(H, W, 4)`` in [0, 1], as the next version.

        Raises:
          OSError: It cannot be written.
        """
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = max(self._versions, default=0) + 1
            while self._taken(name := f"version-{number:03}.png"):
                number += 1
            path = self.folder / name
            save_image(path, image, record=record)
            size = image.shape[0], image.shape[1]
            self._versions[number] = Version(number, path, size, record)
            return self._versions[number]

    def remove(self, number: int) -> None:
        """Move a version to the folder ``deleted`` beside the others; its number is not used again.

        Raises:
          KeyError: There is no such version.
          OSError: It cannot be moved.
        """
        with self._lock:
            path = self[number].path
            (self.folder / DELETED).mkdir(exist_ok=True)
            path.replace(self.folder / DELETED / path.name)
            del self._versions[number]
            self._small.pop(number, None)

    def _taken(self, name: str) -> bool:
        return any((folder / name).exists() for folder in (self.folder, self.folder / DELETED))

    def small(self, number: int) -> bytes:
        """Return a version as a small JPEG file."""
        if number not in self._small:
            image = on_white(load_image(self[number].path, alpha=True))
            self._small[number] = jpeg_bytes(shrunk(image, SMALL))
        return self._small[number]

    def keep_picture(self, digest: str, path: AnyPath) -> None:
        """Copy a picture that a version is made of, unless there is a copy."""
        copy = self._copy(digest, os.path.splitext(path)[1])
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            replace_file(copy, Path(path).read_bytes())

    def picture(self, digest: str) -> Path:
        """Return the copy of a picture that versions are made of.

        Raises:
          FileNotFoundError: There is none.
        """
        for ending in READ_ENDINGS:
            if (path := self._copy(digest, ending)).is_file():
                return path
        raise FileNotFoundError(f"{self.folder / 'pictures'} has no copy of a picture of it")

    def _copy(self, digest: str, ending: str) -> Path:
        return self.folder / "pictures" / f"{digest}{ending.lower()}"


def shrunk(image: Pixels, side: int) -> Pixels:
    """Return an image with a longest side of at most ``side`` pixels."""
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(n * scale)) for n in image.shape[:2])
    return image if scale >= 1 else resize(image, (height, width)).clip(0, 1)

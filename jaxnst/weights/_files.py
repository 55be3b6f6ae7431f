"""What every reader shares: arrays by name, opening a file, one-line messages."""

import os
import stat
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

Parameters: TypeAlias = dict[str, NDArray[np.float32]]
"""Arrays by flat name: ``conv1_1/kernel`` (HWIO), ``conv1_1/bias``."""

MAX_BYTES = 2**30
"""Largest file: twice that of any network read here (the whole VGG19, in float32)."""

DAMAGED = "is cut short or damaged"
AGAIN = "copy or download it again"


def open_weights(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading.

    Raises:
      FileNotFoundError: If there is none.
      IsADirectoryError: If it is a folder.
      ValueError: If it is a device or a pipe, or empty.
      OSError: If it cannot be read.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"weights file {os.fspath(path)} does not exist: check the path"
        ) from None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{os.fspath(path)} is a folder: give a weights file in it")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{os.fspath(path)} is a device or a pipe: give a plain weights file")
    if status.st_size == 0:
        raise ValueError(f"weights file {os.fspath(path)} is empty: {AGAIN}")
    return open(path, "rb")


def one_line(text: str, longest: int = 200) -> str:
    """Make text that came out of a file fit to print: one line, printable, not too long."""
    text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 3] + "..."

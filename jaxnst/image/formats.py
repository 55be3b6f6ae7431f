"""Formats of picture files by ending, and what each can hold.

All functions raise ValueError where the ending is not one of ``ENDINGS``.
"""

from importlib.util import find_spec

from jaxnst._files import AnyPath, ending_of, name_of

ENDINGS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""File endings that can be written, in lower case, with the name of their format."""

FORMATS = tuple(dict.fromkeys(ENDINGS.values()))
"""Formats that are ever decoded: others, such as EPS, would start programs."""


def kind_of(path: AnyPath) -> str:
    """Look up the format of a file that is to be written."""
    return ENDINGS[ending_of(path, ENDINGS, usual=".png")]


def holds_alpha(path: AnyPath) -> bool:
    """Return whether a file of this name can be transparent; JPEG and BMP cannot."""
    return kind_of(path) in ("PNG", "WEBP", "TIFF")


def holds_record(path: AnyPath) -> bool:
    """Return whether a file of this name can hold a record; BMP cannot."""
    return kind_of(path) != "BMP"


def holds_quality(path: AnyPath) -> bool:
    """Return whether the format is lossy and has a quality setting."""
    return kind_of(path) in ("JPEG", "WEBP")


def holds_16_bits(path: AnyPath) -> bool:
    """Return whether a file of this name can have 16 bits per channel."""
    return kind_of(path) in ("PNG", "TIFF")


def check_deep(path: AnyPath) -> None:
    """Check that a picture of 16 bits can be written under a name.

    Raises:
      ValueError: Its format has no 16 bits, or the library that writes it is not installed.
    """
    if not holds_16_bits(path):
        raise ValueError(f"{name_of(path)}: 16 bits go into PNG and TIFF only: try .png or .tif")
    library = "imagecodecs" if kind_of(path) == "PNG" else "tifffile"
    if find_spec(library) is None:
        raise ValueError(
            f"{name_of(path)}: 16 bits take {library} to write: pip install 'jaxnst[print]'"
        )

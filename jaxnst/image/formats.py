"""Which kinds of picture files there are, and what each of them can hold."""

from jaxnst._files import AnyPath, ending_of

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
"""All that is ever handed to a decoder: others, such as EPS, would start programs."""

_ALPHA = ("PNG", "WEBP", "TIFF")


def kind_of(path: AnyPath) -> str:
    """Look up the format of a file that is to be written.

    Raises:
      ValueError: The ending is not one of ``ENDINGS``.
    """
    return ENDINGS[ending_of(path, ENDINGS, usual=".png")]


def holds_alpha(path: AnyPath) -> bool:
    """Tell whether a file of this name can be transparent; JPEG and BMP cannot.

    Raises:
      ValueError: The ending is not one of ``ENDINGS``.
    """
    return kind_of(path) in _ALPHA


def holds_record(path: AnyPath) -> bool:
    """Tell whether a file of this name has room for a record; BMP has none.

    Raises:
      ValueError: The ending is not one of ``ENDINGS``.
    """
    return kind_of(path) != "BMP"


def holds_quality(path: AnyPath) -> bool:
    """Tell whether the format is lossy and takes a quality setting.

    Raises:
      ValueError: The ending is not one of ``ENDINGS``.
    """
    return kind_of(path) in ("JPEG", "WEBP")


def holds_16_bits(path: AnyPath) -> bool:
    """Tell whether a file of this name can have 16 bits for each colour.

    Raises:
      ValueError: The ending is not one of ``ENDINGS``.
    """
    return kind_of(path) in ("PNG", "TIFF")

"""Formats of picture files by ending, and what each can hold.

The functions that take a path raise ValueError where its ending is not one of ``ENDINGS``.
"""

from importlib.util import find_spec

from PIL import features

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
    ".avif": "AVIF",
}
"""File endings that can be written, in lower case, with the name of their format."""

READ_ENDINGS = (
    *ENDINGS,
    *(".gif", ".jp2", ".j2k", ".j2c", ".jpf", ".jpx", ".mpo", ".heic", ".heif", ".hif"),
)
"""File endings of pictures in folders, in lower case."""

FORMATS = (*dict.fromkeys(ENDINGS.values()), "GIF", "JPEG2000")
"""Formats that Pillow decodes by itself, MPO as JPEG; others, such as EPS, would start programs."""

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def is_heic(head: bytes) -> bool:
    """Return whether the first 64 bytes of a file are those of a HEIC picture.

    AVIF is stored in the same way (ISO/IEC 23008-12): the brands tell them apart.
    """
    brands = head[8 : min(64, int.from_bytes(head[:4]))]
    return head[4:8] == b"ftyp" and brands.startswith(_HEIC) and b"avif" not in brands


def kind_of(path: AnyPath) -> str:
    """Look up the format of a file that is to be written."""
    kind = ENDINGS[ending_of(path, ENDINGS, usual=".png")]
    if kind == "AVIF" and not features.check("avif"):
        raise ValueError(f"{name_of(path)}: this Pillow was built without AVIF: try .png")
    return kind


HOLDING = {
    "alpha": ("PNG", "WEBP", "TIFF", "AVIF"),
    "record": ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"),
    "quality": ("JPEG", "WEBP", "AVIF"),
    "bits": ("PNG", "TIFF"),
}
"""Formats that have transparency, a record, a quality setting, and 16 bits per channel."""


def holds(path: AnyPath, what: str) -> bool:
    """Return whether a file of this name can have one of :data:`HOLDING`."""
    return kind_of(path) in HOLDING[what]


def check_deep(path: AnyPath) -> None:
    """Check that a picture of 16 bits can be written under a name.

    Raises:
      ValueError: Its format has no 16 bits, or the library that writes it is not installed.
    """
    if not holds(path, "bits"):
        raise ValueError(f"{name_of(path)}: 16 bits go into PNG and TIFF only: try .png or .tif")
    library = "imagecodecs" if kind_of(path) == "PNG" else "tifffile"
    if find_spec(library) is None:
        raise ValueError(
            f"{name_of(path)}: 16 bits need {library} to write: pip install 'jaxnst[print]'"
        )

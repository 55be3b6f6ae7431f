"""Pictures of 16 bits, which Pillow cannot write in colour: imagecodecs does PNG, tifffile TIFF.

Both come with the extra ``jaxnst[print]``, and are imported only when such a picture is.
"""

import importlib
import io
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxnst._files import AnyPath, name_of
from jaxnst.image.formats import holds_16_bits, kind_of

LIBRARIES = {"PNG": "imagecodecs", "TIFF": "tifffile"}

Levels = npt.NDArray[np.uint16]

_AFTER_HEADER = 33
"""Where a PNG file's first chunk, which is always of one length, ends."""


def check_deep(path: AnyPath) -> None:
    """Find out whether a picture of 16 bits can be written under a name.

    Raises:
      ValueError: Its format has no 16 bits, or the library that writes it is not installed.
    """
    kind = kind_of(path)
    if not holds_16_bits(path):
        raise ValueError(f"{name_of(path)}: 16 bits go into PNG and TIFF only: try .png or .tif")
    if find_spec(LIBRARIES[kind]) is None:
        raise ValueError(
            f"{name_of(path)}: 16 bits take {LIBRARIES[kind]} to write: pip install 'jaxnst[print]'"
        )


def encode_png(levels: Levels, *, like: bytes) -> bytes:
    """Write a PNG file of 16 bits.

    Args:
      levels: ``(H, W, 3)`` or ``(H, W, 4)``.
      like: Another PNG file, of which everything is taken that stands between header and pixels.
    """
    data: bytes = importlib.import_module("imagecodecs").png_encode(levels)
    return data[:_AFTER_HEADER] + like[_AFTER_HEADER : _pixels(like)] + data[_AFTER_HEADER:]


def _pixels(png: bytes) -> int:
    """Find where the first chunk of pixels begins."""
    at = _AFTER_HEADER
    while png[at + 4 : at + 8] != b"IDAT":
        at += 12 + int.from_bytes(png[at : at + 4])
    return at


def encode_tiff(levels: Levels, *, profile: bytes, dpi: int | None, text: str | None) -> bytes:
    """Write a TIFF file of 16 bits, compressed without loss.

    Args:
      levels: ``(H, W, 3)`` or ``(H, W, 4)``.
      profile: ICC profile.
      dpi: Pixels per inch, if they are to be said.
      text: The picture's description, if there is to be one.
    """
    options: dict[str, Any] = {"extrasamples": ("unassalpha",)} if levels.shape[2] == 4 else {}
    if dpi is not None:
        options |= {"resolution": (dpi, dpi), "resolutionunit": "INCH"}
    buffer = io.BytesIO()
    importlib.import_module("tifffile").imwrite(
        buffer,
        levels,
        photometric="rgb",
        byteorder="<",
        compression="zlib",
        predictor=True,
        iccprofile=profile,
        description=text,
        metadata=None,
        software=False,
        **options,
    )
    return buffer.getvalue()

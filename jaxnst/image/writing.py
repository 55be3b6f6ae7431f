"""Arrays -> files: checked, encoded in memory, and written whole or not at all."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from jaxnst import _files
from jaxnst._files import AnyPath
from jaxnst.image.formats import holds_alpha, kind_of
from jaxnst.srgb import Pixels, flattened


def save_image(path: AnyPath, image: npt.ArrayLike, *, quality: int = 95) -> None:
    """Write an image; a crash never leaves half a picture, nor loses the one that was there.

    Values are clipped to [0, 1] and rounded to 8 bits. Symbolic links are followed.

    Args:
      path: Where to; the format follows from its ending, one of ``ENDINGS``.
      image: ``(H, W, 3)`` RGB in [0, 1], any floating point type; or ``(H, W, 4)``, straight RGB
        and alpha, which PNG, WebP and TIFF keep, and JPEG and BMP show on white.
      quality: JPEG's (stored 4:4:4) and WebP's, 1 to 100; no other format uses it.

    Raises:
      ValueError: The ending is unknown, or the image not of the shape above, too large for the
        format, or holds NaN, or the quality is out of range.
      TypeError: The image holds integers.
      FileNotFoundError: The folder does not exist.
      IsADirectoryError: ``path`` is a folder.
      PermissionError: The folder or the existing file may not be written.
      OSError: Writing fails otherwise, e.g. the disk is full.
    """
    _files.destination(path)
    kind = kind_of(path)
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}, expected 1 to 100")
    values = _checked(image)
    if values.shape[2] == 4 and not holds_alpha(path):
        values = flattened(values[..., :3], values[..., 3])
    # Encoded in memory, so that the disk is touched by a complete picture only.
    _files.replace_file(path, _encode(_levels(values), kind, quality, _files.name_of(path)))


def check_output(path: AnyPath) -> None:
    """Find out, before any work, whether ``save_image`` could write to ``path``.

    Args:
      path: Where a picture is to be written; nothing is left there, or changed.

    Raises:
      ValueError: The ending is not one of ``ENDINGS``.
      FileNotFoundError: The folder does not exist.
      IsADirectoryError: ``path`` is a folder.
      PermissionError: The folder or the existing file may not be written.
      OSError: The folder cannot be written to for another reason.
    """
    _files.check_writable(path)
    kind_of(path)


def _checked(image: npt.ArrayLike) -> Pixels:
    """Copy an image, clipped to [0, 1]."""
    given = np.asarray(image)
    if given.dtype.kind in "biu":
        raise TypeError(
            f"image has dtype {given.dtype}, expected floating point in [0, 1]: divide by 255 "
            "what is in 0..255"
        )
    values = given.astype(np.float32)
    if values.ndim != 3 or values.shape[-1] not in (3, 4) or 0 in values.shape:
        raise ValueError(f"image has shape {values.shape}, expected (height, width, 3 or 4)")
    if np.isnan(values).any():
        raise ValueError("image holds NaN, expected numbers in [0, 1]: nothing was written")
    return np.clip(values, 0, 1, out=values)


def _levels(values: Pixels) -> npt.NDArray[np.uint8]:
    """Round to 8 bits, in place as far as that goes: pictures can be large."""
    values *= 255
    np.rint(values, out=values)
    return values.astype(np.uint8)


def _encode(values: npt.NDArray[np.uint8], kind: str, quality: int, name: str) -> bytes:
    options: dict[str, Any] = {"quality": quality} if kind in ("JPEG", "WEBP") else {}
    if kind == "JPEG":
        options["subsampling"] = "4:4:4"
    buffer = io.BytesIO()
    try:
        Image.fromarray(values).save(buffer, kind, **options)
    except (OSError, ValueError) as error:
        height, width = values.shape[:2]
        raise ValueError(
            f"{name} cannot hold this picture of {width}x{height} pixels as {kind} "
            f"({_files.reason(error)}): try .png"
        ) from error
    return buffer.getvalue()

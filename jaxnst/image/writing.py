"""Arrays -> files: checked, encoded in memory, and written whole or not at all."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from jaxnst import _files
from jaxnst._checks import channels_last, floating
from jaxnst._files import AnyPath
from jaxnst.image.color import Pixels, flattened, srgb_profile
from jaxnst.image.formats import holds_alpha, holds_record, kind_of
from jaxnst.image.metadata import notes
from jaxnst.image.record import Record, format_record
from jaxnst.image.sixteen_bit import check_deep, encode_png, encode_tiff

DPI = (1, 30_000)
"""Pixels per inch that can be said, least and most: every format holds these."""


def save_image(
    path: AnyPath,
    image: npt.ArrayLike,
    *,
    quality: int = 95,
    bits: int = 8,
    dpi: int | None = None,
    record: Record | None = None,
) -> None:
    """Write an image; a crash never leaves half a picture, nor loses the one that was there.

    Values are clipped to [0, 1] and rounded. The file says that they are sRGB, by a profile, except
    for BMP. Symbolic links are followed. The same arguments give the same bytes.

    Args:
      path: Where to; the format follows from its ending, one of ``ENDINGS``.
      image: ``(H, W, 3)`` RGB in [0, 1], any floating point type; or ``(H, W, 4)``, straight RGB
        and alpha, which PNG, WebP and TIFF keep, and JPEG and BMP show on white.
      quality: JPEG's (stored 4:4:4) and WebP's, 1 to 100; no other format uses it.
      bits: Of each value, 8 or 16; 16 take PNG or TIFF, and the extra ``jaxnst[print]``.
      dpi: Pixels per inch that the file is to say, for printing; None: it says nothing.
      record: How the picture was made, to be read again by :func:`read_record`; BMP has no room.

    Raises:
      ValueError: The ending is unknown, or the image not of the shape above, too large for the
        format, or holds NaN, or the quality or another number is out of range, or the
        format cannot hold what is asked for, or the library that writes it is not installed.
      TypeError: The image holds integers.
      FileNotFoundError: The folder does not exist.
      IsADirectoryError: ``path`` is a folder.
      PermissionError: The folder or the existing file may not be written.
      OSError: Writing fails otherwise, e.g. the disk is full.
    """
    _files.destination(path)
    kind = kind_of(path)
    _check_numbers(quality, bits, dpi)
    if bits == 16:
        check_deep(path)
    if record is not None and not holds_record(path):
        raise ValueError(f"{_files.name_of(path)}: {kind} has no room for a record: try .png")
    text = None if record is None else format_record(record)
    values = _checked(image)
    if values.shape[2] == 4 and not holds_alpha(path):
        values = flattened(values[..., :3], values[..., 3])
    height, width = values.shape[:2]
    try:  # in memory, so that the disk is touched by a complete picture only
        data = _encode(values, kind, quality, bits, dpi, text)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{_files.name_of(path)} cannot hold this picture of {width}x{height} pixels as {kind} "
            f"({_files.reason(error)}): try .png"
        ) from error
    _files.replace_file(path, data)


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
    floating("image", given.dtype)
    values = given.astype(np.float32)
    fits = values.ndim == 3 and values.shape[-1] in (3, 4) and 0 not in values.shape
    channels_last("image", values.shape, "(height, width, 3 or 4)", fits=fits)
    if np.isnan(values).any():
        raise ValueError("image holds NaN, expected numbers in [0, 1]: nothing was written")
    return np.clip(values, 0, 1, out=values)


def _check_numbers(quality: int, bits: int, dpi: int | None) -> None:
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}, expected 1 to 100")
    if bits not in (8, 16):
        raise ValueError(f"bits is {bits}, expected 8 or 16")
    least, most = DPI
    if dpi is not None and not least <= dpi <= most:
        raise ValueError(f"dpi is {dpi}, expected {least} to {most} pixels per inch")


def _rounded(values: Pixels, bits: int) -> npt.NDArray[Any]:
    """Round to whole numbers, in place as far as that goes: pictures can be large."""
    values *= 2**bits - 1
    np.rint(values, out=values)
    return values.astype(np.uint8 if bits == 8 else np.uint16)


def _encode(
    values: Pixels, kind: str, quality: int, bits: int, dpi: int | None, text: str | None
) -> bytes:
    """Write a file in memory; ``values`` are overwritten."""
    levels = _rounded(values, bits)
    if bits == 8:
        return _by_pillow(levels, kind, quality, dpi, text)
    if kind == "TIFF":
        return encode_tiff(levels, profile=srgb_profile(), dpi=dpi, text=text)
    like = _by_pillow(np.zeros((1, 1, 3), np.uint8), kind, quality, dpi, text)
    return encode_png(levels, like=like)


def _by_pillow(
    levels: npt.NDArray[np.uint8], kind: str, quality: int, dpi: int | None, text: str | None
) -> bytes:
    options: dict[str, Any] = {"quality": quality} if kind in ("JPEG", "WEBP") else {}
    if kind == "JPEG":
        options["subsampling"] = "4:4:4"
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, kind, **options, **notes(kind, dpi=dpi, text=text))
    return buffer.getvalue()

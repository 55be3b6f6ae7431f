"""Arrays -> files: checked, encoded in memory, and written completely or not at all.

Pillow writes 8 bits. 16 bits are written by imagecodecs (PNG) and tifffile (TIFF), from the extra
``jaxnst[print]``, which are imported only then.
"""

import importlib
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from jaxnst import _files
from jaxnst._checks import channels_last, floating
from jaxnst._files import AnyPath
from jaxnst.image.color import flattened, srgb_profile
from jaxnst.image.formats import check_deep, holds, kind_of
from jaxnst.image.record import ASCII, KEYWORD, Record, format_record

DPI = (1, 30_000)
"""Least and most pixels per inch that a file can state: every format holds these."""

Levels = npt.NDArray[Any]  # uint8 or uint16

_STRIP = 256
_PNG_HEADER_END = 33
_INCH = 2


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

    Values are clipped to [0, 1] and rounded. A profile states that they are sRGB, except in BMP.
    Symbolic links are followed. The same arguments give the same bytes.

    Args:
      path: Where to; the format follows from its ending, one of ``ENDINGS``.
      image: ``(H, W, 3)`` RGB in [0, 1], any floating point type; or ``(H, W, 4)``, straight RGB
        and alpha, which PNG, WebP, TIFF and AVIF keep, and JPEG and BMP show on white.
      quality: Of JPEG and AVIF (stored 4:4:4) and WebP, 1 to 100; no other format uses it.
      bits: Per channel, 8 or 16; 16 need PNG or TIFF, and the extra ``jaxnst[print]``.
      dpi: Pixels per inch that the file states, for printing; None: it states nothing.
      record: How the picture was made, for :func:`read_record`; BMP has no room.

    Raises:
      ValueError: The ending is unknown, or the image not of the shape above, too large for the
        format, or holds NaN, or the quality or another number is out of range, or the
        format cannot hold what is asked for, or the library that writes it is not installed.
      TypeError: The image holds integers.
      FileNotFoundError: The folder does not exist.
      IsADirectoryError: ``path`` is a folder.
      PermissionError: The folder or the existing file may not be written.
      OSError: Writing fails otherwise, e.g. the disk is full.

    Example:
      >>> import jaxnst, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     jaxnst.save_image(f"{folder}/gray.png", np.full((4, 6, 3), 0.5))
      ...     jaxnst.load_image(f"{folder}/gray.png").shape
      (4, 6, 3)
    """
    _files.destination(path)
    kind = kind_of(path)
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}, expected 1 to 100")
    if bits not in (8, 16):
        raise ValueError(f"bits is {bits}, expected 8 or 16")
    least, most = DPI
    if dpi is not None and not least <= dpi <= most:
        raise ValueError(f"dpi is {dpi}, expected {least} to {most} pixels per inch")
    if bits == 16:
        check_deep(path)
    if record is not None and not holds(path, "record"):
        raise ValueError(f"{_files.name_of(path)}: {kind} has no room for a record: try .png")
    text = None if record is None else format_record(record)
    levels = _levels(image, bits, alpha=holds(path, "alpha"))
    options = _options(kind, dpi, text) | ({"quality": quality} if holds(path, "quality") else {})
    try:  # in memory, so that the disk is touched by a complete picture only
        if bits == 8:
            data = _by_pillow(levels, kind, options)
        elif kind == "TIFF":
            data = encode_tiff(levels, dpi=dpi, text=text)
        else:
            data = encode_png(levels, like=_by_pillow(np.zeros((1, 1, 3), np.uint8), kind, options))
    except (OSError, ValueError, RuntimeError) as error:
        height, width = levels.shape[:2]
        raise ValueError(
            f"{_files.name_of(path)} cannot hold this picture of {width}x{height} pixels as {kind} "
            f"({_files.reason(error)}): try .png"
        ) from error
    _files.replace_file(path, data)


def check_output(path: AnyPath) -> None:
    """Check, before any work, that ``save_image`` could write to ``path``.

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


def _levels(image: npt.ArrayLike, bits: int, *, alpha: bool) -> Levels:
    """Check an image, clip it to [0, 1] and round it to whole numbers.

    In strips, since pictures can be large: no copy of the whole is made but the result.
    """
    array = np.asarray(image)
    floating("image", array.dtype)
    fits = array.ndim == 3 and array.shape[-1] in (3, 4) and 0 not in array.shape
    channels_last("image", array.shape, "(height, width, 3 or 4)", fits=fits)
    height, width, channels = array.shape
    on_white = channels == 4 and not alpha
    size = height, width, 3 if on_white else channels
    levels = np.empty(size, np.uint8 if bits == 8 else np.uint16)
    for top in range(0, height, _STRIP):
        values = array[top : top + _STRIP].astype(np.float32)
        if np.isnan(values).any():
            raise ValueError("image holds NaN, expected numbers in [0, 1]: nothing was written")
        np.clip(values, 0, 1, out=values)
        if on_white:
            values = flattened(values[..., :3], values[..., 3])
        levels[top : top + _STRIP] = np.rint(values * (2**bits - 1))
    return levels


def _options(kind: str, dpi: int | None, text: str | None) -> dict[str, Any]:
    """Collect what Pillow is to write beside the pixels: profile, pixels per inch, record."""
    options: dict[str, Any] = {} if dpi is None else {"dpi": (dpi, dpi)}
    if kind != "BMP":
        options["icc_profile"] = srgb_profile()
    if kind == "PNG" and text is not None:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt(KEYWORD, text)
    if kind == "TIFF" and text is not None:
        options["tiffinfo"] = {int(ExifTags.Base.ImageDescription): text}
    if kind in ("JPEG", "AVIF"):
        options["subsampling"] = "4:4:4"
    if kind in ("JPEG", "WEBP", "AVIF"):
        exif = Image.Exif()
        if dpi is not None and kind != "JPEG":  # which have no other place for it
            exif[ExifTags.Base.XResolution] = exif[ExifTags.Base.YResolution] = float(dpi)
            exif[ExifTags.Base.ResolutionUnit] = _INCH
        if text is not None:
            exif[ExifTags.IFD.Exif] = {int(ExifTags.Base.UserComment): ASCII + text.encode()}
        if len(exif):
            options["exif"] = exif
    return options


def _by_pillow(levels: Levels, kind: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, kind, **options)
    return buffer.getvalue()


def encode_png(levels: Levels, *, like: bytes) -> bytes:
    """Write a PNG file of 16 bits.

    All chunks between header and pixels are taken from another PNG file, ``like``.
    """
    data: bytes = importlib.import_module("imagecodecs").png_encode(levels)
    pixels = _PNG_HEADER_END
    while like[pixels + 4 : pixels + 8] != b"IDAT":
        pixels += 12 + int.from_bytes(like[pixels : pixels + 4])
    return data[:_PNG_HEADER_END] + like[_PNG_HEADER_END:pixels] + data[_PNG_HEADER_END:]


def encode_tiff(levels: Levels, *, dpi: int | None, text: str | None) -> bytes:
    """Write a TIFF file of 16 bits, compressed without loss."""
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
        iccprofile=srgb_profile(),
        description=text,
        metadata=None,
        software=False,
        **options,
    )
    return buffer.getvalue()

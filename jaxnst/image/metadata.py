"""What a picture file says beside its pixels: its colours are sRGB, its print size, its record.

A record (:mod:`jaxnst.image.record`) is written as text where the format allows: PNG's ``iTXt``,
EXIF's ``UserComment`` in JPEG and WebP, TIFF's ``ImageDescription``. BMP has no such field.
"""

import contextlib
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from jaxnst._files import AnyPath, name_of
from jaxnst.image.color import srgb_profile
from jaxnst.image.png import KEYWORD
from jaxnst.image.reading import opened
from jaxnst.image.record import MARK, Record, parse_record

_ASCII = b"ASCII\0\0\0"
_DESCRIPTION = ExifTags.Base.ImageDescription
_INCH = 2


def notes(kind: str, *, dpi: int | None, text: str | None) -> dict[str, Any]:
    """Put together what Pillow is to write beside the pixels.

    Args:
      kind: Format.
      dpi: Pixels per inch, if they are to be said.
      text: A record, if there is to be one.
    """
    said: dict[str, Any] = {} if dpi is None else {"dpi": (dpi, dpi)}
    if kind != "BMP":
        said["icc_profile"] = srgb_profile()
    if kind == "PNG" and text is not None:
        said["pnginfo"] = PngInfo()
        said["pnginfo"].add_itxt(KEYWORD, text)
    if kind == "TIFF" and text is not None:
        said["tiffinfo"] = {int(_DESCRIPTION): text}
    if kind in ("JPEG", "WEBP"):
        exif = Image.Exif()
        if dpi is not None and kind == "WEBP":  # which has no other place for it
            exif[ExifTags.Base.XResolution] = exif[ExifTags.Base.YResolution] = float(dpi)
            exif[ExifTags.Base.ResolutionUnit] = _INCH
        if text is not None:
            exif[ExifTags.IFD.Exif] = {int(ExifTags.Base.UserComment): _ASCII + text.encode()}
        if len(exif):
            said["exif"] = exif
    return said


def read_record(path: AnyPath) -> Record | None:
    """Read how a picture was made, if its file says so; its pixels are not decoded.

    Args:
      path: A JPEG, PNG, WebP or TIFF file, that :func:`jaxnst.save_image` wrote with a record.

    Returns:
      The record, or None: there is none.

    Raises:
      OSError: As :func:`load_image`.
      ValueError: As :func:`load_image`, or the record is damaged or of another version.
    """
    with opened(path, record=True) as (_, picture):
        text = _text(picture)
    try:
        return None if text is None else parse_record(text)
    except ValueError as error:
        raise ValueError(f"{name_of(path)}: {error}") from None


def _text(picture: Image.Image) -> str | None:
    """Find the text of a record."""
    found: Any = None
    if picture.format == "PNG":
        found = picture.info.get(KEYWORD)
    elif picture.format == "TIFF":
        found = getattr(picture, "tag_v2", {}).get(_DESCRIPTION)
    else:
        with contextlib.suppress(Exception):  # damaged metadata say nothing
            exif = picture.getexif().get_ifd(ExifTags.IFD.Exif)
            found = exif.get(ExifTags.Base.UserComment)
        if isinstance(found, bytes):
            found = found.removeprefix(_ASCII).decode("ascii", "replace")
    return str(found) if isinstance(found, str) and found.startswith(MARK) else None

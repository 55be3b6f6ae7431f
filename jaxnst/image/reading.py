"""Files -> arrays. The size in a picture's header is checked before memory is taken for pixels."""

import contextlib
import importlib
import io
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from jaxnst import _files
from jaxnst._files import AnyPath
from jaxnst.image import png, tiff
from jaxnst.image.color import Pixels, stated_colors, to_rgb
from jaxnst.image.formats import FORMATS, is_heic
from jaxnst.image.record import ASCII, KEYWORD, MARK, Record, parse_record

MAX_PIXELS = 2**27
"""Most pixels that are read: about 134 million. Decoding takes 25 to 50 bytes for each."""

MAX_BYTES = 2**31
"""Longest file that is read: some decoders read all of it before they know the picture's size."""

_READING = {False: 32, True: 50}
"""Bytes per pixel at the peak of reading, by whether there is transparency: the decoder's buffers,
the picture in 8 bits, upright and as sRGB, and in float32. Measured at 12 and 48 million pixels, of
every format, mode and orientation."""

_ANIMATED = ("GIF", "WEBP", "AVIF")

_JPEG_END, _JPEG2000_START = b"\xff\xd9", b"\xff\x4f\xff\x51"
_OTHER_BITS = tuple(
    bits + b"".join(b"\xff%c%b" % (restart, bits) for restart in range(0xD0, 0xD8))
    for bits in (b"\xa5" * 32, b"\xe4" * 32, bytes(range(64, 128)))
)
"""Bits put at the end of a JPEG file, also after each of the marks where decoding restarts."""

# Silencing warnings changes the state of the whole process until Python 3.14: one at a time.
_QUIET = threading.Lock()


class NoPictureError(ValueError):
    """A file holds no picture of a kind that is read."""


class Loaded(NamedTuple):
    """A picture that was read.

    Attributes:
      image: float32 ``(H, W, 3)``, or ``(H, W, 4)`` with transparency.
      notices: What is not as the file would have it, a line each.
    """

    image: Pixels
    notices: tuple[str, ...]


def load_image(source: AnyPath, *, alpha: bool = False) -> Pixels:
    """Read a JPEG, PNG, WebP, TIFF, BMP, AVIF, GIF, JPEG 2000 or HEIC file as sRGB.

    EXIF orientation is applied and an embedded color profile converted to sRGB (one that cannot
    be used is ignored), as are colors that a PNG file states by numbers (cICP, gAMA, cHRM). Of an
    animation or a file of many pages, the first that is not marked as a thumbnail is read. Gray of
    more than 8 bits is scaled, not clipped; color of 16 bits is read at 8. Floating point gray
    above 1 is divided by its largest value.

    Args:
      source: Path of the file.
      alpha: Whether transparency is kept, be it an alpha channel, transparent colors of a palette
        or one color that stands for transparent; else it is flattened on white.

    Returns:
      float32 ``(H, W, 3)`` in [0, 1]; with ``alpha``, if anything in the picture is transparent,
      ``(H, W, 4)`` with straight (not premultiplied) color.

    Warns:
      UserWarning: The picture is read, but not quite as its file would have it: it is an animation,
        a JPEG file lacks its last two bytes, a PNG file states colors that are not converted (PQ,
        HLG), or one of its side chunks that matters is damaged.

    Raises:
      FileNotFoundError: There is no such file.
      IsADirectoryError: It is a folder.
      ValueError: It cannot be opened, is empty, cut short, damaged, of another kind (such as a raw
        photograph), or has more than ``MAX_PIXELS`` pixels, or it is HEIC and the extra
        ``jaxnst[heic]`` is not installed.
    """
    loaded = load_with_notices(source, alpha=alpha)
    for notice in loaded.notices:
        warnings.warn(notice, stacklevel=2)
    return loaded.image


def load_with_notices(source: AnyPath, *, alpha: bool = False) -> Loaded:
    """Read a picture like :func:`load_image`, with the same errors, but return its warnings."""
    with _opened(source) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        damaged = picture.info.get("damaged_chunks", ())
        notices = [f"has a damaged {chunk} chunk, which is left out" for chunk in damaged]
        if picture.format in _ANIMATED and getattr(picture, "is_animated", False):
            notices.append("is an animation, of which the first picture is read")
        tags = getattr(picture, "tag_v2", {})
        if picture.format == "JPEG2000":  # OpenJPEG leaves out missing tiles in silence
            codestream = Path(source).read_bytes().partition(_JPEG2000_START)[2]
            if _JPEG_END not in codestream:
                raise OSError("its end is missing")
        try:
            picture.load()
        except OSError:
            if picture.format != "JPEG" or (complete := _with_end(source)) is None:
                raise
            picture = complete
            notices.append("lacks the last two bytes of a JPEG file, and is read all the same")
        if picture.format == "BMP" and picture.mode == "RGBA" and not picture.getbbox():
            picture = picture.convert("RGB")  # in most files the fourth byte means nothing
        colors, notice = stated_colors(picture.info)
        notices += [] if notice is None else [notice]
        try:  # not before load(): Pillow applies a TIFF file's orientation in it
            ImageOps.exif_transpose(picture, in_place=True)
        except MemoryError:
            raise
        except Exception:  # Damaged metadata say nothing about the pixels.
            pass
        image = to_rgb(picture, tags, colors, alpha=alpha)
    name = _files.name_of(source)
    return Loaded(image, tuple(f"{name} {notice}" for notice in notices))


def image_size(source: AnyPath) -> tuple[int, int]:
    """Read ``(height, width)`` of the upright picture from a file's header.

    Raises:
      OSError: There is no such file, or it is a folder.
      ValueError: It is not a picture, or damaged.
    """
    with _opened(source) as picture:
        # Pillow swaps the sides of a TIFF picture by its orientation, but not those in its tags.
        tags = getattr(picture, "tag_v2", {})
        width = tags.get(ExifTags.Base.ImageWidth, picture.width)
        height = tags.get(ExifTags.Base.ImageLength, picture.height)
        orientation = None
        with contextlib.suppress(Exception):  # damaged metadata
            orientation = picture.getexif().get(ExifTags.Base.Orientation)
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def reading_bytes(source: AnyPath) -> int:
    """Estimate the bytes that reading a picture takes at its peak, from its header.

    Raises:
      OSError: There is no such file, or it is a folder.
      ValueError: It is not a picture, or damaged.
    """
    with _opened(source) as picture:
        return _READING[picture.has_transparency_data] * picture.height * picture.width


def read_record(path: AnyPath) -> Record | None:
    """Read how a picture was made, if its file says so; its pixels are not decoded.

    Args:
      path: A file that :func:`jaxnst.save_image` wrote with a record.

    Returns:
      The record, or None if there is none.

    Raises:
      OSError: There is no such file, or it is a folder.
      ValueError: It is not a picture, or the record is damaged or of another version.
    """
    with _opened(path) as picture:
        text: Any = None
        if picture.format == "PNG":
            text = picture.info.get(KEYWORD)
        elif picture.format == "TIFF":
            text = getattr(picture, "tag_v2", {}).get(ExifTags.Base.ImageDescription)
        else:
            with contextlib.suppress(Exception):  # damaged metadata
                text = picture.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
                text = text.removeprefix(ASCII).decode("ascii", "replace")
    # PNG has a keyword for it; other formats may have any text in the same place.
    if text is None or not (picture.format == "PNG" or str(text).startswith(MARK)):
        return None
    try:
        return parse_record(str(text))
    except ValueError as error:
        raise ValueError(f"{_files.name_of(path)}: {error}") from None


def check_side(image: npt.ArrayLike, path: AnyPath, *, least: int = 16) -> None:
    """Check that a picture is large enough to take statistics from.

    Args:
      image: ``(H, W, 3)``, as loaded from ``path``.
      path: Named in the error.
      least: Pixels that the shorter side must have.

    Raises:
      ValueError: The shorter side has fewer pixels.
    """
    height, width = np.shape(image)[:2]
    if min(height, width) < least:
        raise ValueError(
            f"{_files.name_of(path)} is {width}x{height} pixels, expected at least {least} on the "
            "shorter side: use a larger picture"
        )


@contextlib.contextmanager
def _opened(source: AnyPath) -> Iterator[Image.Image]:
    """Open a picture, its pixels not yet decoded.

    Pillow's warnings are silenced, and whatever goes wrong within becomes an error of one line.

    Raises:
      OSError: There is no such file, or it is a folder.
      ValueError: It is not a picture, or damaged.
    """
    _files.check_source(source, MAX_BYTES)
    name = _files.name_of(source)
    try:
        with _QUIET, warnings.catch_warnings(), open(source, "rb") as file:
            warnings.simplefilter("ignore")
            head = file.read(64)
            file.seek(0)
            tiff.refuse_raw(head)
            if head.startswith(png.MARK):
                picture = png.open_png(file)
            elif head.startswith(tiff.MARKS):
                picture = tiff.open_tiff(file)
            elif is_heic(head):
                picture = _open_heic(file)
            else:
                picture = Image.open(file, formats=FORMATS)
            with picture:
                yield picture
    except tiff.UnreadError as error:
        raise ValueError(f"{name} {error}") from error
    except UnidentifiedImageError as error:
        raise NoPictureError(
            f"{name} is not a JPEG, PNG, WebP, TIFF, BMP, AVIF, GIF, JPEG 2000 or HEIC picture: "
            "check the file, or convert it to PNG"
        ) from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name} has more than the {MAX_PIXELS // 10**6} million pixels that are read: make it "
            "smaller first"
        ) from error
    except MemoryError as error:
        raise ValueError(f"{name} does not fit in memory: make it smaller") from error
    except PermissionError as error:
        raise ValueError(f"{name} is not readable: change its permissions, or copy it") from error
    except Exception as error:  # A damaged file makes decoders raise whatever they run into.
        raise ValueError(
            f"{name} is cut short or damaged ({_files.reason(error)}): get a complete copy of it"
        ) from error


def _open_heic(file: BinaryIO) -> Image.Image:
    try:
        plugin = importlib.import_module("pillow_heif")
    except ImportError:
        raise tiff.UnreadError(
            "is a HEIC picture, which pillow-heif reads: pip install 'jaxnst[heic]', or save it as "
            "JPEG"
        ) from None
    plugin.register_heif_opener()
    return Image.open(file, formats=("HEIF",))


def _with_end(source: AnyPath) -> Image.Image | None:
    """Decode a JPEG file that lacks the mark of its end, or return None if more is missing.

    The decoder makes up missing bits. If bits are missing, different ones in their place give
    different pixels. (A progressive file that ends between two scans is complete, but coarser.)
    """
    data = Path(source).read_bytes().removesuffix(_JPEG_END[:1])
    complete, *others = (
        Image.open(io.BytesIO(data + bits + _JPEG_END), formats=("JPEG",))
        for bits in (b"", *_OTHER_BITS)
    )
    pixels = complete.tobytes()
    return complete if all(pixels == other.tobytes() for other in others) else None

"""Files -> arrays. The size in a picture's header is checked before memory is taken for pixels."""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from jaxnst import _files
from jaxnst._files import AnyPath
from jaxnst.image import png, tiff
from jaxnst.image.color import Pixels, stated_colors, to_rgb
from jaxnst.image.formats import FORMATS

MAX_PIXELS = 2**27
"""Most pixels that are read: about 134 million. Decoding takes 25 to 50 bytes for each."""

MAX_BYTES = 2**31
"""Longest file that is read: some decoders read all of it before they know the picture's size."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what sets the picture upright."""

_JPEG_END = b"\xff\xd9"
_OTHER_BITS = tuple(
    bits + b"".join(b"\xff%c%b" % (restart, bits) for restart in range(0xD0, 0xD8))
    for bits in (b"\xa5" * 32, b"\xe4" * 32, bytes(range(64, 128)))
)
"""For the end of a JPEG file, also after each of the marks from which decoding restarts."""

# Silencing warnings changes the state of the whole process until Python 3.14: one at a time.
_QUIET = threading.Lock()


class NoPictureError(ValueError):
    """A file holds no picture of a kind that is read."""


class Loaded(NamedTuple):
    """A picture that was read.

    Attributes:
      image: As :func:`load_image` returns it.
      notices: What is not as the file would have it, a line each.
    """

    image: Pixels
    notices: tuple[str, ...]


def load_image(source: AnyPath, *, alpha: bool = False) -> Pixels:
    """Read a JPEG, PNG, WebP, TIFF or BMP file as sRGB.

    EXIF orientation is applied and an embedded color profile converted to sRGB (one that cannot
    be used is ignored), as are colors that a PNG file states by numbers (cICP, gAMA, cHRM). Of an
    animation or a file of many pages, the first that is not marked as a thumbnail is read. Grey of
    more than 8 bits is scaled, not clipped; color of 16 bits is read at 8. Floating point grey
    above 1 is divided by its largest value.

    Args:
      source: Path of the file.
      alpha: Whether transparency is kept, be it an alpha channel, transparent colors of a palette
        or one color that stands for transparent; else it is flattened on white.

    Returns:
      float32 ``(H, W, 3)`` in [0, 1]; with ``alpha``, if anything in the picture is transparent,
      ``(H, W, 4)`` with straight (not premultiplied) color.

    Warns:
      UserWarning: The picture is read, but not quite as its file would have it: a JPEG file lacks
        its last two bytes, a PNG file states colors that are not converted (PQ, HLG), or one of
        its side chunks that matters is damaged.

    Raises:
      FileNotFoundError: There is no such file.
      IsADirectoryError: It is a folder.
      ValueError: It cannot be opened, is empty, cut short, damaged, of another kind (such as a raw
        photograph), or has more than ``MAX_PIXELS`` pixels.
    """
    loaded = load_with_notices(source, alpha=alpha)
    for notice in loaded.notices:
        warnings.warn(notice, stacklevel=2)
    return loaded.image


def load_with_notices(source: AnyPath, *, alpha: bool = False) -> Loaded:
    """Read a picture as :func:`load_image` does, but return what it would warn of.

    Args:
      source: Path of the file.
      alpha: Whether transparency is kept.

    Raises:
      OSError: As :func:`load_image`.
      ValueError: As :func:`load_image`.
    """
    notices: list[str] = []
    with opened(source, notices=notices) as (file, picture):
        if picture.width * picture.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        tags = getattr(picture, "tag_v2", {})
        try:
            picture.load()
        except OSError:
            if picture.format != "JPEG" or (whole := _with_end(file)) is None:
                raise
            picture = whole
            notices.append("lacks the last two bytes of a JPEG file, and is read all the same")
        if picture.format == "BMP" and picture.mode == "RGBA" and not picture.getbbox():
            picture = picture.convert("RGB")  # in most files the fourth byte means nothing
        colors, notice = stated_colors(picture.info)
        notices += [] if notice is None else [notice]
        # Not before load(): TIFF's reader applies the orientation.
        image = to_rgb(_upright(picture), tags, colors, alpha=alpha)
    name = _files.name_of(source)
    return Loaded(image, tuple(f"{name} {notice}" for notice in notices))


def image_size(source: AnyPath) -> tuple[int, int]:
    """Read height and width of a picture from its header, as it will stand upright.

    Raises:
      OSError: As :func:`load_image`.
      ValueError: As :func:`load_image`.
    """
    with opened(source) as (_, picture):
        return upright_size(picture)


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """Return height and width of an opened picture, as it will stand upright."""
    turned = picture.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    # Pillow turns the size of TIFF itself: the tags have it as it is stored.
    tags = getattr(picture, "tag_v2", {})
    width = tags.get(ExifTags.Base.ImageWidth, picture.width)
    height = tags.get(ExifTags.Base.ImageLength, picture.height)
    return (width, height) if turned else (height, width)


def check_side(image: npt.ArrayLike, path: AnyPath, *, least: int = 16) -> None:
    """Refuse a picture that is too small to take statistics from.

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
def opened(
    source: AnyPath, *, record: bool = False, notices: list[str] | None = None
) -> Iterator[tuple[BinaryIO, Image.Image]]:
    """Open a picture, its pixels not yet decoded; whatever goes wrong within becomes one line.

    Args:
      source: Path of the file.
      record: Whether a record is read, too.
      notices: Where to add what is not as the file would have it.

    Yields:
      The file and the picture.

    Raises:
      OSError: There is no such file, or it is a folder.
      ValueError: It is no picture, or damaged.
    """
    _files.check_source(source, MAX_BYTES)
    with _reading(_files.name_of(source)), open(source, "rb") as file:
        tiff.refuse_raw(file)
        file.seek(0)
        mark = file.read(len(png.MARK))
        file.seek(0)
        if mark == png.MARK:
            picture, damaged = png.open_png(file, record=record)
            if notices is not None:
                notices += [f"has a damaged {name} chunk, which is left out" for name in damaged]
        elif mark.startswith(tiff.MARKS):
            picture = tiff.open_tiff(file)
        else:
            picture = Image.open(file, formats=FORMATS)
        with picture:
            yield file, picture


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Keep Pillow's warnings in, and turn all that decoding may raise into one line."""
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except tiff.UnreadError as error:
        raise ValueError(f"{name} {error}") from error
    except UnidentifiedImageError as error:
        raise NoPictureError(
            f"{name} holds no JPEG, PNG, WebP, TIFF or BMP picture that can be read: check the "
            "file, or convert it to PNG"
        ) from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name} has more than the {MAX_PIXELS // 10**6} million pixels that are read: make it "
            "smaller first"
        ) from error
    except MemoryError as error:
        raise ValueError(f"{name} needs more memory than there is: make it smaller") from error
    except PermissionError as error:
        raise ValueError(f"{name} may not be read: change its permissions or copy it") from error
    except Exception as error:  # A damaged file makes decoders raise whatever they run into.
        raise ValueError(
            f"{name} is cut short or damaged ({_files.reason(error)}): get a whole copy of it"
        ) from error


def _upright(picture: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Damaged metadata say nothing about the pixels.
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _with_end(file: BinaryIO) -> Image.Image | None:
    """Decode a JPEG file that lacks the mark of its end, or return None if more is missing.

    The decoder makes up bits that are missing: then other bits, put there, give another picture.
    (A progressive file that ends between two of its scans is whole, but coarser.)
    """
    file.seek(0)
    data = file.read().removesuffix(_JPEG_END[:1])
    whole, *others = (
        Image.open(io.BytesIO(data + bits + _JPEG_END), formats=("JPEG",))
        for bits in (b"", *_OTHER_BITS)
    )
    return whole if all(whole.tobytes() == other.tobytes() for other in others) else None

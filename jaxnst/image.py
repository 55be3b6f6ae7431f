"""Files <-> arrays: load, save and resize pictures. With ``srgb.py``, the only importer of PIL.

An image is a float32 array ``(H, W, 3)``: sRGB in [0, 1], RGB order, first row at the top.
Sizes are ``(height, width)``. Only JPEG, PNG, WebP, TIFF and BMP are ever handed to a decoder
(others, such as EPS, would start programs), and the size in a picture's header is checked before
memory is taken for its pixels.
"""

import contextlib
import difflib
import io
import math
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from jaxnst import _files
from jaxnst._files import AnyPath
from jaxnst.srgb import Pixels, to_rgb

Box = tuple[float, float, float, float]
"""Part of an image: top, left, bottom and right, pixels from its upper left corner."""

MAX_PIXELS = 2**27
"""Most pixels that are read: about 134 million. Decoding takes 25 to 50 bytes for each."""

MAX_BYTES = 2**31
"""Longest file that is read: some decoders read all of it before they know the picture's size."""

ENDINGS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""File endings that can be written, in lower case, with the name of their format."""

_FORMATS = tuple(dict.fromkeys(ENDINGS.values()))

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

# Silencing warnings changes the state of the whole process until Python 3.14: one at a time.
_QUIET = threading.Lock()


def load_image(source: AnyPath) -> Pixels:
    """Read a JPEG, PNG, WebP, TIFF or BMP file as sRGB.

    EXIF orientation is applied and an embedded colour profile converted to sRGB (one that cannot
    be used is ignored). Transparency is flattened on white; of an animation or a file of many
    pages, the first is read. Grey of more than 8 bits is scaled, not clipped; colour of 16 bits
    is read at 8. Floating point grey above 1 is divided by its largest value.

    Args:
      source: Path of the file.

    Returns:
      float32 ``(H, W, 3)`` in [0, 1].

    Raises:
      FileNotFoundError: There is no such file.
      IsADirectoryError: It is a folder.
      ValueError: It cannot be opened, is empty, cut short, damaged, of another kind, or has more
        than ``MAX_PIXELS`` pixels.
    """
    _files.check_source(source, MAX_BYTES)
    with (
        _reading(_files.name_of(source)),
        open(source, "rb") as file,
        Image.open(file, formats=_FORMATS) as picture,
    ):
        if picture.width * picture.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        tags = getattr(picture, "tag_v2", {})
        picture.load()
        # Not before load(): PNG may state it after the pixels, and TIFF's reader applies it.
        return to_rgb(_upright(picture), tags)


def image_size(source: AnyPath) -> tuple[int, int]:
    """Read height and width of a picture from its header, as it will stand upright.

    A PNG file that states its orientation after its pixels is taken as it lies.

    Raises:
      OSError: As :func:`load_image`.
      ValueError: As :func:`load_image`.
    """
    _files.check_source(source, MAX_BYTES)
    with (
        _reading(_files.name_of(source)),
        open(source, "rb") as file,
        Image.open(file, formats=_FORMATS) as picture,
    ):
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        width, height = picture.size
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


def save_image(path: AnyPath, image: npt.ArrayLike, *, quality: int = 95) -> None:
    """Write an image; a crash never leaves half a picture, nor loses the one that was there.

    Values are clipped to [0, 1] and rounded to 8 bits. Symbolic links are followed.

    Args:
      path: Where to; the format follows from its ending, one of ``ENDINGS``.
      image: ``(H, W, 3)`` RGB in [0, 1], any floating point type.
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
    kind = _kind(path)
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}, expected 1 to 100")
    # Encoded in memory, so that the disk is touched by a complete picture only.
    _files.replace_file(path, _encode(_to_bytes(image), kind, quality, _files.name_of(path)))


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
    _kind(path)


def resize(image: npt.ArrayLike, size: tuple[int, int], *, box: Box | None = None) -> Pixels:
    """Resample bicubically (a = -0.5), with the kernel widened when shrinking (antialiased).

    Values are not clipped: beside strong edges they may overshoot the range of the input.

    Args:
      image: ``(H, W, C)``, any range.
      size: ``(height, width)`` of the result, pixels.
      box: What of the image to take: ``(top, left, bottom, right)``, pixels and parts of pixels;
        beyond its borders the image is mirrored. None: all of it.

    Returns:
      float32 ``(height, width, C)``; a copy of the same values if nothing is to be done.

    Raises:
      ValueError: The image has another number of axes or no pixels, a side is less than 1, or
        the box is empty.
    """
    values = np.asarray(image, np.float32)
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"image has shape {values.shape}, expected (height, width, channels)")
    height, width = size
    if min(height, width) < 1:
        raise ValueError(f"size is {height} x {width}, expected at least 1 pixel per side")
    top, left, bottom, right = (0, 0, *values.shape[:2]) if box is None else box
    if not (top < bottom and left < right):
        raise ValueError(f"box is {box}, expected top above bottom and left before right")
    outside = (top, bottom - values.shape[0]), (left, right - values.shape[1])
    (above, below), (before, after) = (
        (max(0, math.ceil(-first)), max(0, math.ceil(last))) for first, last in outside
    )
    values = np.pad(values, [(above, below), (before, after), (0, 0)], mode="symmetric")
    taken = (left + before, top + above, right + before, bottom + above)
    # Pillow resamples floating point one channel at a time only.
    channels = [Image.fromarray(np.ascontiguousarray(c)) for c in np.moveaxis(values, -1, 0)]
    resized = [c.resize((width, height), Image.Resampling.BICUBIC, taken) for c in channels]
    return np.stack([np.asarray(c) for c in resized], axis=-1)


def fit(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Scale a size so that its longest side is ``longest``, its aspect kept.

    Args:
      size: ``(height, width)``, pixels.
      longest: Longest side of the result, pixels.

    Returns:
      ``(height, width)``, each at least 1.

    Raises:
      ValueError: A side or ``longest`` is less than 1.

    Example:
      >>> fit((600, 800), 512)
      (384, 512)
    """
    if min(*size, longest) < 1:
        raise ValueError(
            f"size is {size[0]} x {size[1]} and the longest side asked for {longest}, expected at "
            "least 1 pixel each"
        )
    # In whole numbers, so that the longest side comes out exact whatever the size.
    old = max(size)
    height, width = (max(1, (2 * side * longest + old) // (2 * old)) for side in size)
    return height, width


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Keep Pillow's warnings in, and turn all that decoding may raise into one line."""
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnidentifiedImageError as error:
        raise ValueError(
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


def _kind(path: AnyPath) -> str:
    """Look up the format of a file that is to be written."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in ENDINGS:
        near = difflib.get_close_matches(ending, ENDINGS, n=1, cutoff=0.8)
        raise ValueError(
            f"{_files.name_of(path)} has the ending {_files.name_of(ending)}, expected one of "
            f"{', '.join(ENDINGS)}: try {near[0] if near else '.png'}"
        )
    return ENDINGS[ending]


def _to_bytes(image: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    given = np.asarray(image)
    if given.dtype.kind in "biu":
        raise TypeError(
            f"image has dtype {given.dtype}, expected floating point in [0, 1]: divide by 255 "
            "what is in 0..255"
        )
    values = given.astype(np.float32)
    if values.ndim != 3 or values.shape[-1] != 3 or 0 in values.shape:
        raise ValueError(f"image has shape {values.shape}, expected (height, width, 3)")
    if np.isnan(values).any():
        raise ValueError("image holds NaN, expected numbers in [0, 1]: nothing was written")
    np.clip(values, 0, 1, out=values)
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

"""Images from and for other libraries: files, Pillow images and arrays of any library."""

import io
import os
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from jaxnst._checks import check_picture
from jaxnst.image.color import Pixels, stated_colors, to_rgb
from jaxnst.image.reading import load_image

# Quoted in signatures, so that they show this name.
ImageLike: TypeAlias = str | os.PathLike[str] | Image.Image | npt.ArrayLike
"""A path, a Pillow image, or an array of NumPy, JAX or PyTorch; see :func:`as_image`."""


COLORS = 256
"""Colors of a picture in sixel: terminals have registers for as many."""


def as_image(name: str, value: "ImageLike", *, opacity: bool = False) -> Pixels:
    """Convert an image of any kind to float32 RGB in [0, 1].

    * A path is read by :func:`jaxnst.load_image`.
    * A Pillow image is converted as its file would be, with orientation and color profile.
    * An array of NumPy, JAX or PyTorch is ``(H, W, 3)``. uint8 is divided by 255; floating point
      must be in [0, 1], and up to 0.05 beyond, as resampling leaves it, is clipped.

    Args:
      name: What it is called in messages.
      value: The image.
      opacity: Whether it may have a fourth channel; else files and Pillow images are shown on
        white.

    Raises:
      FileNotFoundError: There is no such file.
      TypeError: An array holds integers other than uint8, or it is not an image at all.
      ValueError: A file cannot be read, or an array has another shape (such as its channels
        first), values further outside [0, 1], or a side under 16 pixels.
    """
    image = opened(value, opacity=opacity)
    if hasattr(image, "detach") and hasattr(image, "cpu"):
        # PyTorch's: NumPy reads no gradients, GPUs or bfloat16.
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
    array = np.asarray(image)
    if array.dtype.kind in "OSU":
        kind = type(value).__name__
        raise TypeError(f"{name} image is a {kind}, expected a path, a Pillow image or an array")
    if array.dtype == np.uint8:
        array = array.astype(np.float32) / 255
    return check_picture(name, array, opacity=opacity)


def opened(value: "ImageLike", *, opacity: bool = False) -> Any:
    """Read a path or a Pillow image as float32 in [0, 1], and return anything else as it is."""
    if isinstance(value, (str, os.PathLike)):
        return load_image(value, alpha=opacity)
    if isinstance(value, Image.Image):
        colors, _ = stated_colors(value.info)
        return to_rgb(ImageOps.exif_transpose(value), {}, colors, alpha=opacity)
    return value


def png_bytes(image: Pixels) -> bytes:
    """Encode an image ``(H, W, 3)`` or ``(H, W, 4)`` in [0, 1] as a PNG file of 8 bits."""
    buffer = io.BytesIO()
    _in_8_bits(image).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg_bytes(image: Pixels, *, quality: int = 85) -> bytes:
    """Encode an image ``(H, W, 3)`` in [0, 1] as a JPEG file."""
    buffer = io.BytesIO()
    _in_8_bits(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _in_8_bits(image: Pixels) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8))


def sixel_text(image: Pixels) -> str:
    """Encode an image ``(H, W, 3)`` in [0, 1] as sixel, in COLORS colors.

    For every six rows, and each color in them, there is a line of letters.
    """
    picture = _in_8_bits(image)
    indexed = picture.quantize(COLORS)
    palette = np.array(indexed.getpalette()).reshape(-1, 3) * 100 // 255
    rows_below = (0, -picture.height % 6), (0, 0)
    indices = np.pad(np.asarray(indexed, np.int16), rows_below, constant_values=COLORS)
    bands = []
    for band in indices.reshape(-1, 6, picture.width):
        present = np.setdiff1d(band, [COLORS])
        bits = np.packbits(band == present[:, None, None], axis=1, bitorder="little")[:, 0]
        # Equal letters, six pixels of a column each, are written by their number.
        color, start = np.nonzero(np.diff(bits, axis=1, prepend=255))
        ends = np.where(np.diff(color, append=-1) != 0, picture.width, np.roll(start, -1))
        letters = (63 + bits[color, start]).tobytes().decode("ascii")
        heads = [f"$#{present[c]}" if at == 0 else "" for c, at in zip(color, start, strict=True)]
        runs = zip(heads, (ends - start).tolist(), letters, strict=True)
        bands.append("".join(f"{head}!{count}{letter}" for head, count, letter in runs)[1:])
    colors = "".join(f"#{i};2;{r};{g};{b}" for i, (r, g, b) in enumerate(palette))
    return f'\x1bP0;1q"1;1;{picture.width};{picture.height}{colors}{"-".join(bands)}\x1b\\'

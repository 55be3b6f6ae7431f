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
      TypeError: An array holds integers other than uint8.
      ValueError: A file cannot be read, or an array has another shape (such as its channels
        first), values further outside [0, 1], or a side under 16 pixels.
    """
    return check_picture(name, as_array(f"{name} image", value, opacity=opacity), opacity=opacity)


def as_array(name: str, value: "ImageLike", *, opacity: bool = False) -> npt.NDArray[Any]:
    """Convert an image as :func:`as_image` does, without a check of its shape and values.

    Raises:
      FileNotFoundError: There is no such file.
      TypeError: It is neither a path nor a Pillow image nor an array of numbers.
      ValueError: A file cannot be read.
    """
    image: Any = value
    if isinstance(image, (str, os.PathLike)):
        image = load_image(image, alpha=opacity)
    elif isinstance(image, Image.Image):
        colors, _ = stated_colors(image.info)
        image = to_rgb(ImageOps.exif_transpose(image), {}, colors, alpha=opacity)
    elif hasattr(image, "detach") and hasattr(image, "cpu"):
        # PyTorch's: NumPy reads no gradients, GPUs or bfloat16.
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
    array = np.asarray(image)
    if array.dtype.kind in "OSU":
        kind = type(value).__name__
        raise TypeError(f"{name} is a {kind}, expected a path, a Pillow image or an array")
    return array.astype(np.float32) / 255 if array.dtype == np.uint8 else array


def png_bytes(image: Pixels) -> bytes:
    """Encode an image ``(H, W, 3)`` or ``(H, W, 4)`` in [0, 1] as a PNG file of 8 bits."""
    buffer = io.BytesIO()
    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg_bytes(image: Pixels, *, quality: int = 85) -> bytes:
    """Encode an image ``(H, W, 3)`` in [0, 1] as a JPEG file."""
    buffer = io.BytesIO()
    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(levels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()

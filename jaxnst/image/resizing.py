"""Resampling, and sizes of one aspect."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from jaxnst._checks import channels_last
from jaxnst.image.color import Pixels

Box = tuple[float, float, float, float]
"""Part of an image: top, left, bottom and right, pixels from its upper left corner."""

SHAPE = 0.02
"""Most by which the aspects of two sizes of one shape differ, relative."""

LEAST_ALPHA = 1e-3
"""Below this alpha, the color of a resized picture is not recovered by dividing by the alpha."""

_KEEPING = {3: 24, 4: 64}
"""Bytes per pixel of a picture that is optimized, by channels: the picture in float32 and one
channel of it while it is resized; with transparency also a copy in which hidden pixels are filled,
and what filling them takes."""


def resize(image: npt.ArrayLike, size: tuple[int, int], *, box: Box | None = None) -> Pixels:
    """Resample a picture bicubically (a = -0.5), antialiased when it shrinks.

    A picture in [0, 1] stays in it: what overshoots beside strong edges is clipped. Values of any
    other range are not clipped.

    Args:
      image: ``(H, W, C)``.
      size: ``(height, width)`` of the result, pixels.
      box: What of the image to take: ``(top, left, bottom, right)``, pixels and parts of pixels;
        beyond its borders the image is mirrored. None: all of it.

    Returns:
      float32 ``(height, width, C)``; a copy of the same values if nothing is to be done.

    Raises:
      ValueError: The image has another number of axes or no pixels, or has its channels first, a
        side is less than 1, or the box is empty.

    Example:
      >>> resize(np.ones((40, 60, 3)), (20, 30)).shape
      (20, 30, 3)
    """
    values = np.asarray(image, np.float32)
    resampled = resample(values, size, box=box)
    if values.min() >= 0 and values.max() <= 1:
        np.clip(resampled, 0, 1, out=resampled)
    return resampled


def resample(image: npt.ArrayLike, size: tuple[int, int], *, box: Box | None = None) -> Pixels:
    """Resample an image of any range like :func:`resize`, but clip nothing."""
    values = np.asarray(image, np.float32)
    fits = values.ndim == 3 and 0 not in values.shape
    fits = fits and not (values.shape[0] == 3 and values.shape[2] > 4)
    channels_last("image", values.shape, "(height, width, channels)", fits=fits)
    height, width = size
    if min(height, width) < 1:
        raise ValueError(f"size is {height} x {width}, expected at least 1 pixel per side")
    top, left, bottom, right = (0, 0, *values.shape[:2]) if box is None else box
    if not (top < bottom and left < right):
        raise ValueError(f"box is {box}, expected top above bottom and left before right")
    outside = (-top, bottom - values.shape[0]), (-left, right - values.shape[1])
    padding = [(max(0, math.ceil(first)), max(0, math.ceil(last))) for first, last in outside]
    above, before = padding[0][0], padding[1][0]
    part = (left + before, top + above, right + before, bottom + above)
    resampled = np.empty((height, width, values.shape[2]), np.float32)
    # One channel at a time: Pillow resamples floating point only so, and large pictures are not
    # copied whole.
    for c in range(values.shape[2]):
        picture = Image.fromarray(np.pad(values[..., c], padding, mode="symmetric"))
        picture = picture.resize((width, height), Image.Resampling.BICUBIC, part)
        resampled[..., c] = np.asarray(picture)
    return resampled


def resize_rgba(image: npt.ArrayLike, size: tuple[int, int], *, box: Box | None = None) -> Pixels:
    """Resample a picture with transparency, as :func:`resize` does one without.

    Color is weighted by its alpha, and made straight again, so that what is hidden does not bleed
    into what is seen. Where nothing is left to be seen, color is resampled plainly.

    Args:
      image: ``(H, W, 4)``: straight RGB and alpha, in [0, 1].
      size: ``(height, width)`` of the result, pixels.
      box: What of the image to take; None: all of it.

    Returns:
      float32 ``(height, width, 4)``, straight, clipped to [0, 1].

    Raises:
      ValueError: The image has another shape, a side is less than 1, or the box is empty.
    """
    values = _with_alpha(image)
    color, alpha = values[..., :3], values[..., 3:]
    plain, opacity = resample(color, size, box=box), resample(alpha, size, box=box)
    visible = resample(color * alpha, size, box=box) / np.maximum(opacity, LEAST_ALPHA)
    straight = np.where(opacity < LEAST_ALPHA, plain, visible)
    return np.clip(np.concatenate([straight, opacity], axis=-1), 0, 1)


def fill_hidden(image: npt.ArrayLike) -> Pixels:
    """Give hidden pixels of a picture with transparency the visible colors around them.

    From coarse to fine: where nothing is visible, the picture of half the size is used, in which
    more is. So neither resampling nor a network meets hidden colors at a border.

    Args:
      image: ``(H, W, 4)``: straight RGB and alpha, in [0, 1].

    Returns:
      float32 ``(H, W, 3)``; colors with an alpha above 0 are unchanged.

    Raises:
      ValueError: The image has another shape.
    """
    values = _with_alpha(image)
    height, width = values.shape[:2]
    color, alpha = values[..., :3], values[..., 3:]
    if alpha.min() > 0 or max(height, width) == 1:
        return color
    half = resize_rgba(values, (-(-height // 2), -(-width // 2)))
    around = np.clip(resample(fill_hidden(half), (height, width)), 0, 1)
    return np.where(alpha > 0, color, around)


def _with_alpha(image: npt.ArrayLike) -> Pixels:
    values = np.asarray(image, np.float32)
    fits = values.ndim == 3 and values.shape[2] == 4
    channels_last("image", values.shape, "(height, width, 4)", fits=fits)
    return values


def keeping_bytes(shape: tuple[int, ...]) -> int:
    """Estimate the bytes that a picture ``(H, W, 3)`` or ``(H, W, 4)`` takes while it is used."""
    height, width, channels = shape
    return _KEEPING[channels] * height * width


def same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two sizes have one aspect, but for the rounding of sides.

    Example:
      >>> same_shape((600, 800), (75, 100)), same_shape((600, 800), (600, 600))
      (True, False)
    """
    (height, width), (h, w) = size, other
    return abs(math.log((height * w) / (width * h))) <= SHAPE


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

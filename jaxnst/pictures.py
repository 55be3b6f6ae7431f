"""Pictures as callers give them: checked, and made float32."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxnst._checks import channels_last, clipped, floating
from jaxnst.result import Picture

LEAST_SIDE = 16
"""Of any picture, pixels: the stride of relu5_1."""


def style_pictures(styles: Any) -> Iterator[tuple[str, ArrayLike]]:
    """Go through the style images given, one or more, each with its name for messages.

    Raises:
      ValueError: If there is none.
    """
    if hasattr(styles, "ndim") and styles.ndim == 3:
        yield "style", styles
        return
    if len(styles) == 0:
        raise ValueError("styles is empty, expected at least one style image")
    for i, style in enumerate(styles, 1):
        yield f"style {i}", style


def check_picture(name: str, image: ArrayLike, *, opacity: bool = False) -> Picture:
    """Return an image as float32, an overshoot clipped.

    Args:
      name: What it is called in messages.
      image: ``(H, W, 3)`` RGB in [0, 1]; up to 0.05 beyond, as resampling leaves it, is clipped.
      opacity: Whether it may have a fourth channel.

    Raises:
      TypeError: If it holds integers.
      ValueError: If it has another shape, values further outside [0, 1], or a side under 16
        pixels.
    """
    array = np.asarray(image)
    channels = (3, 4) if opacity else (3,)
    expected = " or ".join(f"(height, width, {count})" for count in channels)
    fits = array.ndim == 3 and array.shape[2] in channels
    channels_last(f"{name} image", array.shape, expected, fits=fits)
    floating(f"{name} image", array.dtype)
    if min(array.shape[:2]) < LEAST_SIDE:
        raise ValueError(
            f"{name} image is {array.shape[1]}x{array.shape[0]}, "
            f"expected at least {LEAST_SIDE} pixels per side"
        )
    return clipped(f"{name} image", array)

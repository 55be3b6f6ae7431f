"""Masks: which pixels a region has, brought to the sizes of feature maps.

A mask is ``(H, W)`` with values from 0 (outside) to 1 (inside). A position of a feature map sees
many pixels, so regions are made smaller by one position in every direction: what lies at a border
would mix both sides. Gatys et al. (Controlling Perceptual Factors in Neural Style Transfer, CVPR
2017) shrink them too. What is beyond the picture's border counts as inside.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from jaxnst._checks import clipped, floating
from jaxnst.image import resize, same_shape
from jaxnst.image.exchange import ImageLike, opened
from jaxnst.transfer.pyramid import Size

Mask: TypeAlias = Float[np.ndarray, "_ _"]

LEAST = 1e-6
"""A mask with a smaller mean counts as empty."""

VISIBLE = 0.5 / 255
"""Least opacity that is not 0 in 8 bits."""


def check_mask(name: str, mask: "ImageLike", size: Size) -> Mask:
    """Return a mask as float32.

    Args:
      name: What it is called in messages.
      mask: The path of a file, a Pillow image, or an array ``(H, W)`` in [0, 1] or of truth
        values, or ``(H, W, 3)``, of which the channels' mean is taken. With a fourth channel, its
        opacity: what is transparent is outside.
      size: Height and width of its picture: the mask may be larger or smaller, of the same aspect.

    Raises:
      TypeError: If it holds integers.
      ValueError: If it has another shape, values outside [0, 1] by more than 0.05 (less is
        clipped), or is 0 everywhere.
    """
    values = np.asarray(opened(mask, opacity=True))
    if values.dtype == bool:
        values = values.astype(np.float32)
    floating(name, values.dtype)
    if values.ndim == 3 and values.shape[2] in (1, 3, 4):
        opacity = values[..., 3] if values.shape[2] == 4 else 1
        values = values[..., :3].mean(axis=2) * opacity
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"{name} has shape {values.shape}, expected (height, width)")
    values = clipped(name, values)
    (height, width), (h, w) = values.shape, size
    if not same_shape((height, width), size):
        raise ValueError(
            f"{name} is {width}x{height} and its picture {w}x{h}, expected the same aspect ratio"
        )
    if values.mean() < LEAST:
        raise ValueError(f"{name} is black everywhere: paint white where the style is wanted")
    return values


def sized(mask: Mask, size: Size) -> Mask:
    """Resample a mask, as :func:`jaxnst.resize` does a picture."""
    return np.clip(resize(mask[..., None], size)[..., 0], 0, 1)


def disjoint(masks: Sequence[Mask]) -> Float[np.ndarray, "r _ _"]:
    """Stack masks of one size; where several overlap, each gets its share of the pixel."""
    stacked = np.stack(masks)
    return stacked / np.maximum(stacked.sum(axis=0), 1)


def position_weights(mask: Mask, size: Size, *, shrink: bool = True) -> Mask:
    """Say how much each position of a feature map counts for a region.

    Args:
      mask: Of the region.
      size: Of the feature map.
      shrink: Whether the region loses a position in every direction, if anything is then left.

    Returns:
      Weights with sum 1. For an empty mask all count alike; give it no share.
    """
    small = sized(mask, size)
    around = np.pad(small, 1, constant_values=1)
    shrunk = np.lib.stride_tricks.sliding_window_view(around, (3, 3)).min(axis=(2, 3))
    for values in (shrunk if shrink else small, small, np.ones_like(small)):
        total = values.sum(dtype=np.float64)
        if total >= LEAST * values.size:
            return (values / total).astype(np.float32)
    raise AssertionError("ones have a sum")

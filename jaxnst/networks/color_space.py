"""Color spaces: between an RGB image in [0, 1] and what a network or a solver works on.

A loss network's preprocessing and the space in which a recipe optimizes are both a
:class:`~jaxnst.recipes.schema.Space`, and only these two functions apply it.
"""

from typing import TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnst.recipes.schema import Space

Pixels: TypeAlias = Float[Array, "*batch _ _ 3"]
"""An image, or a batch of them: networks are trained on batches."""


def encode(image: Pixels, space: Space) -> Pixels:
    """Convert an RGB image in [0, 1] to ``space``: ``(scale * image - mean) / deviation``."""
    ordered = image[..., ::-1] if space.order == "bgr" else image
    return (ordered * space.scale - _like(ordered, space.mean)) / _like(ordered, space.deviation)


def decode(variable: Pixels, space: Space) -> Pixels:
    """Convert a point of ``space`` back to RGB; nothing is clipped to [0, 1]."""
    scaled = variable * _like(variable, space.deviation) + _like(variable, space.mean)
    ordered = scaled / space.scale
    return ordered[..., ::-1] if space.order == "bgr" else ordered


def _like(image: Pixels, channels: tuple[float, float, float]) -> Array:
    """Shape one value per channel for arithmetic with an image or a batch."""
    return jnp.asarray(channels, image.dtype).reshape((1,) * (image.ndim - 1) + (3,))

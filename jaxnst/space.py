"""Colour spaces: between an RGB image in [0, 1] and what a network or a solver works on.

A loss network's preprocessing and the space in which a recipe optimises are the same kind of
thing, a :class:`~jaxnst.config.Space`, and these two functions are the only place it is applied.
"""

import jax.numpy as jnp

from jaxnst._types import Image
from jaxnst.config import Space


def encode(image: Image, space: Space) -> Image:
    """Take an RGB image in [0, 1] into ``space``: ``(scale * image - mean) / deviation``."""
    ordered = image[..., ::-1] if space.order == "bgr" else image
    mean = jnp.asarray(space.mean, ordered.dtype)
    deviation = jnp.asarray(space.deviation, ordered.dtype)
    return (ordered * space.scale - mean) / deviation


def decode(variable: Image, space: Space) -> Image:
    """Take a point of ``space`` back to RGB; nothing is clipped to [0, 1]."""
    mean = jnp.asarray(space.mean, variable.dtype)
    deviation = jnp.asarray(space.deviation, variable.dtype)
    ordered = (variable * deviation + mean) / space.scale
    return ordered[..., ::-1] if space.order == "bgr" else ordered

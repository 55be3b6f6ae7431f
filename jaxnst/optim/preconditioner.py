"""The coordinates in which solvers move: images in which large forms count for more.

L-BFGS moves what :func:`amplify_coarse` turns into the image's difference from its start, and Adam,
if asked to, the coefficients of that difference's Laplacian pyramid (:func:`sum_pyramid`).

Pixels are poor coordinates for these losses. A large form changes when many pixels move together,
each a little, which a quasi-Newton method has to learn step by step. With ``x = x0 + S u``
and a fixed S that amplifies what is coarse, one step in u moves large forms as readily as small
ones; the minimum is the same. What it saves is in docs/experiments.md. Adam, which moves every
coordinate about as far as any other, moves large forms only by coordinates of their own. Its steps
do not depend on where it starts, so the pyramid of the difference takes the image through the same
steps as the image's own.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnst._types import Image
from jaxnst.networks.layers import conv

PYRAMID_TOP = 4
"""A Laplacian pyramid ends at the first level whose longest side is below this."""

OCTAVES = 3
"""How many times the image is halved."""

# The line 1 3 3 1 over pairs of pixels: (the pair before, this one, the one after) x (its two).
_LINE = np.array([[0, 1], [3, 3], [1, 0]]) / 8


@partial(jax.custom_vjp, nondiff_argnums=(1,))
@partial(jax.jit, static_argnums=1)
def amplify_coarse(image: Image, power: float) -> Image:
    """Multiply what is ``2**k`` pixels large by about ``2**(k * power)``, up to k = 3.

    ``S = I + sum_k (2**(k p) - 2**((k-1) p)) U_k U_k^T / 4**k`` with U_k the enlargement by
    ``2**k``, linear between pixels. S is linear, symmetric and positive definite. An image whose
    sides cannot be halved three times is halved as often as they can.
    """
    return _amplify(image, power, 0)


def _forward(image: Image, power: float) -> tuple[Image, None]:
    return amplify_coarse(image, power), None


def _backward(power: float, _: None, grad: Image) -> tuple[Image]:
    return (amplify_coarse(grad, power),)  # S is symmetric


amplify_coarse.defvjp(_forward, _backward)


def _amplify(image: Image, power: float, octave: int) -> Image:
    """Sum an image's own share in S and those of all coarser octaves."""
    share = 2 ** (octave * power) - 2 ** ((octave - 1) * power) if octave else 1.0
    height, width, _ = image.shape
    if octave == OCTAVES or height % 2 or width % 2:
        return share * image
    return share * image + _enlarge(_amplify(_halve(image), power, octave + 1))


# Squares of four pixels as twelve channels: written as sums of slices, XLA would fuse the octaves
# into one another and compute the coarse ones again for every fine pixel.


def _halve(image: Image) -> Image:
    """Weigh lines and columns by 1 3 3 1 around every pair: the transpose of _enlarge / 4."""
    height, width, _ = image.shape
    squares = image.reshape(height // 2, 2, width // 2, 2, 3).swapaxes(1, 2)
    squares = squares.reshape(height // 2, width // 2, 12)
    return conv(squares, _kernel(image.dtype), jnp.zeros(3, image.dtype))


def _enlarge(image: Image) -> Image:
    """Double both sides, linear between pixels and towards zero beyond the border."""
    height, width, _ = image.shape
    kernel = 4 * _kernel(image.dtype)[::-1, ::-1].swapaxes(2, 3)
    squares = conv(image, kernel, jnp.zeros(12, image.dtype))
    squares = squares.reshape(height, width, 2, 2, 3).swapaxes(1, 2)
    return squares.reshape(2 * height, 2 * width, 3)


def _kernel(dtype: jnp.dtype) -> jax.Array:
    """Make the kernel (3, 3, 12, 3) of _halve."""
    kernel = np.einsum("ya,xb,cd->yxabcd", _LINE, _LINE, np.eye(3))
    return jnp.asarray(kernel.reshape(3, 3, 12, 3), dtype)


def pyramid_sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """List the heights and widths of a Laplacian pyramid's levels, the image's own first."""
    sizes = [size]
    while max(sizes[-1]) >= PYRAMID_TOP:
        height, width = sizes[-1]
        sizes.append((max(1, height // 2), max(1, width // 2)))
    return sizes


def pyramid_length(size: tuple[int, int]) -> int:
    """Count the coefficients of the Laplacian pyramid of an RGB image of some height and width."""
    return sum(3 * height * width for height, width in pyramid_sizes(size))


def sum_pyramid(coefficients: Float[Array, " n"], size: tuple[int, int]) -> Image:
    """Make an image from the coefficients of its Laplacian pyramid (Burt and Adelson 1983).

    From the coarsest level to the finest, the sum so far is enlarged to the next level's size,
    linearly, and added to it. Coefficients are those of all levels, the finest first.
    """
    image, end = None, len(coefficients)
    for height, width in reversed(pyramid_sizes(size)):
        shape = height, width, 3
        level = coefficients[end - math.prod(shape) : end].reshape(shape)
        image = level if image is None else level + jax.image.resize(image, shape, "linear")
        end -= math.prod(shape)
    assert image is not None
    return image

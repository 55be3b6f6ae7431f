"""The coordinates in which L-BFGS moves: an image in which large forms count for more.

Pixels are poor coordinates for these losses. A large form changes when many pixels move together,
each a little, which a quasi-Newton method has to learn step by step. With ``x = x0 + S u``
and a fixed S that amplifies what is coarse, one step in u moves large forms as readily as small
ones; the minimum is the same. What it saves is in docs/experiments.md.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst._types import Image
from jaxnst.networks.layers import conv

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

"""Convolutions over squares of 2x2 pixels that were put beside each other in the channels.

A map of ``(h, w, c)`` becomes one of ``(h / 2, w / 2, 4 c)``, and a kernel one of whole squares.
Some entries of that are zeros, yet on a CPU it is faster in two cases: for the input gradient at
stride 2, which is then one at stride 1, and for large kernels with very few channels at one end,
which do not fill XLA's vectors (figures in docs/performance.md).
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxnst.networks.cpu.canonical import Margin, canonical_conv

FEW = 4
"""Channels that count as very few."""

MANY = 16
"""Channels that must be at the other end."""

LARGE = 5
"""Side of a kernel from which on squares are worth the copies of maps that they take."""


def is_narrow(kernel: Float[Array, "kh kw c d"]) -> bool:
    """Tell whether :func:`narrow_conv` is the faster one for a kernel."""
    height, width, *ends = kernel.shape
    return height == width >= LARGE and min(ends) <= FEW and max(ends) >= MANY


def narrow_conv(
    how: lax.Precision, x: Float[Array, "n h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "n _ _ d"]:
    """Convolve at stride 1 without a margin, four pixels at once.

    Args:
      how: Precision of the products, here and in both gradients.
      x: Feature maps.
      kernel: Of odd side.

    Returns:
      ``h - k + 1`` rows, and columns alike.
    """
    k = kernel.shape[0]
    height, width = (side - k + 1 for side in x.shape[1:3])
    side = k // 2 + 1  # of the kernel, in squares
    fits = ((-(-n // 2) + side - 1) * 2 for n in (height, width))
    missing = [(0, fit - n) for fit, n in zip(fits, x.shape[1:3], strict=True)]
    squares = as_squares(jnp.pad(x, [(0, 0), *missing, (0, 0)]))
    # To each of the four pixels the kernel lies differently in its squares.
    lies = [
        jnp.pad(kernel, [(i, 1 - i), (j, 1 - j), (0, 0), (0, 0)]) for i in (0, 1) for j in (0, 1)
    ]
    around = (side // 2, side // 2)
    out = canonical_conv(around, around, how, squares, _kernel(jnp.concatenate(lies, -1)))
    return from_squares(out)[:, :height, :width]


def halving_in_squares(
    margin: int, how: lax.Precision, x: Float[Array, "n h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "n _ _ d"]:
    """Convolve at stride 2: slower than XLA's own forward, faster backward.

    Args:
      margin: Rows and columns of zeros that are added on every side.
      how: Precision of the products, here and in both gradients.
      x: Feature maps.
      kernel: Square.

    Returns:
      ``(h + 2 * margin - k) // 2 + 1`` rows, and columns alike.
    """
    k = kernel.shape[0]
    x = jnp.pad(x, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
    height, width = ((side - k) // 2 + 1 for side in x.shape[1:3])
    side = -(-k // 2)  # of the kernel, in squares
    # As many rows and columns as the squares take: one may be missing, or be left over.
    fits = [(n + side - 1) * 2 for n in (height, width)]
    missing = [(0, max(0, fit - n)) for fit, n in zip(fits, x.shape[1:3], strict=True)]
    x = jnp.pad(x, [(0, 0), *missing, (0, 0)])[:, : fits[0], : fits[1]]
    none: Margin = (0, 0)
    whole = jnp.pad(kernel, [(0, 2 * side - k)] * 2 + [(0, 0)] * 2)
    return canonical_conv(none, none, how, as_squares(x), _kernel(whole))


def as_squares(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c4"]:
    """Put the four pixels of every 2x2 square beside each other in the channels."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // 2, 2, w // 2, 2, c)
    return jnp.moveaxis(x, 2, 3).reshape(n, h // 2, w // 2, 4 * c)


def from_squares(x: Float[Array, "n h w c4"]) -> Float[Array, "n h2 w2 c"]:
    """Put them back into their places."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, 2, 2, c // 4)
    return jnp.moveaxis(x, 3, 2).reshape(n, 2 * h, 2 * w, c // 4)


def _kernel(kernel: Array) -> Array:
    """Put the entries of a kernel of even side into squares, as those of a map."""
    k, _, c, d = kernel.shape
    squares = kernel.reshape(k // 2, 2, k // 2, 2, c, d)
    return squares.transpose(0, 2, 1, 3, 4, 5).reshape(k // 2, k // 2, 4 * c, d)

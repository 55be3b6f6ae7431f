"""Convolutions over blocks of 2x2 pixels, moved into the channels (space to depth).

A map of ``(h, w, c)`` becomes one of ``(h / 2, w / 2, 4 c)``, and a kernel one over whole blocks.
Some of its entries are zeros, yet on a CPU it is faster in two cases: for the input gradient at
stride 2, which becomes one at stride 1, and for large kernels with very few channels at one end,
which do not fill XLA's vectors (figures in docs/performance.md).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxnst.networks.cpu.canonical import canonical_conv, plain_conv

FEW = 4
"""Channels that count as very few."""

MANY = 16
"""Channels that must be at the other end."""

LARGE = 5
"""Side of a kernel from which on blocks are worth the copies of maps that they take."""


def is_narrow(kernel: Float[Array, "kh kw c d"]) -> bool:
    """Return whether :func:`narrow_conv` is the faster one for a kernel."""
    height, width, *ends = kernel.shape
    return height == width >= LARGE and min(ends) <= FEW and max(ends) >= MANY


def narrow_conv(
    how: lax.Precision, x: Float[Array, "n h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "n _ _ d"]:
    """Convolve by a kernel of odd side at stride 1 without a margin, four pixels at once."""
    k = kernel.shape[0]
    height, width = (side - k + 1 for side in x.shape[1:3])
    side = k // 2 + 1  # of the kernel, in blocks
    fits = ((-(-n // 2) + side - 1) * 2 for n in (height, width))
    missing = [(0, fit - n) for fit, n in zip(fits, x.shape[1:3], strict=True)]
    blocks = space_to_depth(jnp.pad(x, [(0, 0), *missing, (0, 0)]))
    # For each of the four pixels the kernel has another place in its blocks.
    placed = [
        jnp.pad(kernel, [(i, 1 - i), (j, 1 - j), (0, 0), (0, 0)]) for i in (0, 1) for j in (0, 1)
    ]
    margin = (side // 2, side // 2)
    out = canonical_conv(margin, margin, how, blocks, _kernel(jnp.concatenate(placed, -1)))
    return depth_to_space(out)[:, :height, :width]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def stride2_conv(
    margin: int, how: lax.Precision, x: Float[Array, "n h w c"], kernel: Float[Array, "k k c d"]
) -> Float[Array, "n _ _ d"]:
    """Convolve at stride 2 with zeros in the margin; the input gradient is computed by blocks."""
    return plain_conv((margin, margin), how, x, kernel, stride=2)


def _stride2_forward(
    margin: int, how: lax.Precision, x: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array]]:
    return plain_conv((margin, margin), how, x, kernel, stride=2), (x, kernel)


def _stride2_backward(
    margin: int, how: lax.Precision, saved: tuple[Array, Array], grad: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    _, x_vjp = jax.vjp(lambda x: _stride2_in_blocks(margin, how, x, kernel), x)
    _, kernel_vjp = jax.vjp(partial(plain_conv, (margin, margin), how, x, stride=2), kernel)
    return x_vjp(grad)[0], kernel_vjp(grad)[0]


stride2_conv.defvjp(_stride2_forward, _stride2_backward)


def _stride2_in_blocks(margin: int, how: lax.Precision, x: Array, kernel: Array) -> Array:
    """Convolve at stride 2: slower than XLA's own forward, faster backward."""
    k = kernel.shape[0]
    x = jnp.pad(x, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
    height, width = ((side - k) // 2 + 1 for side in x.shape[1:3])
    side = -(-k // 2)  # of the kernel, in blocks
    # As many rows and columns as the blocks take: one may be missing, or be left over.
    fits = [(n + side - 1) * 2 for n in (height, width)]
    missing = [(0, max(0, fit - n)) for fit, n in zip(fits, x.shape[1:3], strict=True)]
    x = jnp.pad(x, [(0, 0), *missing, (0, 0)])[:, : fits[0], : fits[1]]
    kernel = jnp.pad(kernel, [(0, 2 * side - k)] * 2 + [(0, 0)] * 2)
    return canonical_conv((0, 0), (0, 0), how, space_to_depth(x), _kernel(kernel))


def space_to_depth(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c4"]:
    """Move the four pixels of every 2x2 block into the channels."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // 2, 2, w // 2, 2, c)
    return jnp.moveaxis(x, 2, 3).reshape(n, h // 2, w // 2, 4 * c)


def depth_to_space(x: Float[Array, "n h w c4"]) -> Float[Array, "n h2 w2 c"]:
    """Undo :func:`space_to_depth`."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, 2, 2, c // 4)
    return jnp.moveaxis(x, 3, 2).reshape(n, 2 * h, 2 * w, c // 4)


def _kernel(kernel: Array) -> Array:
    """Move the entries of a kernel of even side into blocks, as those of a map."""
    k, _, c, d = kernel.shape
    blocks = kernel.reshape(k // 2, 2, k // 2, 2, c, d)
    return blocks.transpose(0, 2, 1, 3, 4, 5).reshape(k // 2, k // 2, 4 * c, d)

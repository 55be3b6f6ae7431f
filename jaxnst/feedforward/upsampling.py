"""Convolutions at twice the height and width, without computing on doubled pixels.

A 3x3 kernel over a map whose pixels were doubled meets only 2x2 different ones, and so does one
over a map with zeros put between its pixels, which is a transposed convolution. Each of the four
pixels that come of one is therefore a 2x2 convolution of the small map, with a kernel whose entries
are sums of the 3x3 kernel's: 16 products in the place of 36.
"""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxnst.networks.cpu.canonical import canonical_conv
from jaxnst.networks.layers import pad
from jaxnst.networks.precision import PRODUCTS
from jaxnst.recipes.schema import Padding, Precision

Upsampling = Literal["resize", "transposed"]

_TAPS: dict[Upsampling, list[list[list[int]]]] = {
    "resize": [[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]],
    "transposed": [[[0, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 0, 0]]],
}
"""Which entries of the 3x3 kernel's rows each of two rows takes, for the first and second pixel."""


def doubling_conv(
    x: Float[Array, "*batch h w c"],
    kernel: Float[Array, "3 3 c d"],
    upsampling: Upsampling,
    *,
    padding: Padding = "zero",
    precision: Precision = "float32",
) -> Float[Array, "*batch h2 w2 d"]:
    """Convolve at twice the height and width.

    Args:
      x: Feature map, with or without one batch axis.
      kernel: For ``resize``, applied to the map with every pixel doubled in both directions; for
        ``transposed``, spread around every pixel of the map at stride 2, its middle on the first of
        the four pixels.
      upsampling: Which of them.
      padding: What lies beyond the border of the large map; for ``transposed``, ``edge`` and
        ``reflect`` repeat the last pixels of the small one.
      precision: Of the products.

    Returns:
      Twice as many rows, and columns alike.
    """
    taps = jnp.asarray(np.array(_TAPS[upsampling]), kernel.dtype)
    height, width, _ = x.shape[-3:]
    small = jnp.einsum("pak,qbl,klcd->abcpqd", taps, taps, kernel, precision=lax.Precision.HIGHEST)
    small = small.reshape(2, 2, x.shape[-1], -1)
    # The first pixel beyond a doubled border, mirrored, is the one at it.
    x = pad(x, (1, 1), "zero" if padding == "zero" else "edge")
    batch = x if x.ndim == 4 else x[None]
    # A last row and column too many: XLA's fast convolutions on a CPU keep height and width.
    batch = jnp.pad(batch, [(0, 0), (0, 1), (0, 1), (0, 0)])
    out = canonical_conv((0, 0), (0, 0), PRODUCTS[precision], batch, small)
    out = out.reshape(*out.shape[:3], 2, 2, -1)
    four = [[out[:, i : i + height, j : j + width, i, j] for j in range(2)] for i in range(2)]
    # (n, row, row of a pixel's four, column, column of the four, channels)
    whole = jnp.stack([jnp.stack(pair, 3) for pair in four], 2)
    whole = whole.reshape(-1, 2 * height, 2 * width, whole.shape[-1])
    return whole if x.ndim == 4 else whole[0]


class Doubling(nn.Module):
    """A convolution at twice the height and width.

    Attributes:
      width: Output channels.
      upsampling: How a map becomes larger.
      padding: What lies beyond the border.
      precision: Of the products.
      has_bias: Whether a bias is added.
    """

    width: int
    upsampling: Upsampling
    padding: Padding
    precision: Precision
    has_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch _ _ d"]:
        """Double a feature map."""
        shape = (3, 3, x.shape[-1], self.width)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(x.dtype)
        doubled = doubling_conv(
            x, kernel, self.upsampling, padding=self.padding, precision=self.precision
        )
        if not self.has_bias:
            return doubled
        bias = self.param("bias", nn.initializers.zeros, (self.width,)).astype(x.dtype)
        return doubled + bias.reshape((1,) * (doubled.ndim - 1) + (-1,))

"""Layers of the loss networks: convolution, padding and pooling, written for compiled loops.

Arrays are channels-last, ``(..., height, width, channels)`` with at most one batch axis; kernels
are ``(height, width, in, out)``.

XLA's CPU backend decides how these layers are written (figures in docs/performance.md). Gradients
of convolutions are in canonical layout (:mod:`~jaxnst.networks.cpu.canonical`). Pooling is
arithmetic on strided slices, as the gradient of ``reduce_window`` is slow. XLA also copies cheap
arithmetic into everything that uses its result, so that both sides of a plain ReLU would be kept
for the backward pass: :func:`relu` keeps only its result.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxnst.networks.cpu.canonical import canonical_conv
from jaxnst.networks.cpu.space_to_depth import is_narrow, narrow_conv, stride2_conv
from jaxnst.networks.cpu.winograd import KEY, winograd_conv
from jaxnst.networks.precision import PRODUCTS
from jaxnst.recipes.schema import Padding, Pooling, Precision

# XLA's fast path for convolutions on a CPU wants the input channels in whole vectors of this
# many: an image's three, filled up with zeros, cost a fifth of what three cost.
_VECTOR = 4


class Convolution(nn.Module):
    """A convolution with its parameters, ``kernel`` (HWIO) and, if it has one, ``bias``.

    Attributes:
      width: Output channels.
      side: Of the square kernel.
      padding: What lies beyond the border.
      has_bias: Whether a bias is added.
      margin: None: stride 1, keeping height and width; else stride 2 with this margin.
      precision: Of the products.
    """

    width: int
    side: int = 3
    padding: Padding = "zero"
    has_bias: bool = True
    margin: int | None = None
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch _ _ d"]:
        """Convolve a feature map."""
        shape = (self.side, self.side, x.shape[-1], self.width)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(x.dtype)
        bias = None
        if self.has_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.width,)).astype(x.dtype)
        how: dict[str, Any] = {"padding": self.padding, "precision": self.precision}
        if self.margin is not None:
            return strided_conv(x, kernel, bias, margin=self.margin, **how)
        # Present where parameters were prepared for a CPU.
        return conv(x, kernel, bias, transformed=self.get_variable("params", KEY), **how)


def conv(
    x: Float[Array, "*batch h w c"],
    kernel: Float[Array, "kh kw c d"],
    bias: Float[Array, " d"] | None,
    *,
    padding: Padding = "zero",
    precision: Precision = "float32",
    transformed: Float[Array, "16 c d"] | None = None,
) -> Float[Array, "*batch h w d"]:
    """Convolve at stride 1, keeping height and width.

    Args:
      x: Feature map, with or without one batch axis.
      kernel: Odd height and width.
      bias: One value per output channel, or None.
      padding: What lies beyond the border. Zeros are padded inside the convolution; ``edge`` and
        ``reflect`` (without repeating the border) cost a copy of the feature map.
      precision: Of the products, here and in both gradients.
      transformed: The 3x3 kernel as :mod:`jaxnst.networks.cpu.winograd` has it, used in its place.

    Returns:
      The feature map after convolution and bias, before any activation.

    Raises:
      ValueError: If the kernel has an even side, for which "same size" has no center.
    """
    kh, kw = kernel.shape[:2]
    if kh % 2 == 0 or kw % 2 == 0:
        raise ValueError(f"kernel is {kh}x{kw}, but conv needs odd sides; use lax.conv instead")
    margin, how = (kh // 2, kw // 2), PRODUCTS[precision]
    batch = x if x.ndim == 4 else x[None]
    if transformed is None and is_narrow(kernel):
        out = narrow_conv(how, pad(batch, margin, padding), kernel)
    else:
        # Zeros around the padding, and the outputs that they affect cut off: XLA's fast
        # convolutions on a CPU are those that keep height and width.
        cut = (0, 0) if padding == "zero" else margin
        batch = pad(batch, cut, padding)
        if transformed is None:
            missing = -x.shape[-1] % _VECTOR
            batch = jnp.pad(batch, [(0, 0)] * 3 + [(0, missing)])
            kernel = jnp.pad(kernel, [(0, 0), (0, 0), (0, missing), (0, 0)])
            out = canonical_conv(margin, cut, how, batch, kernel)
        else:
            out = winograd_conv(batch, transformed)
            out = out[:, cut[0] : out.shape[1] - cut[0], cut[1] : out.shape[2] - cut[1]]
    return add_bias(out if x.ndim == 4 else out[0], bias)


def strided_conv(
    x: Float[Array, "*batch h w c"],
    kernel: Float[Array, "k k c d"],
    bias: Float[Array, " d"] | None,
    *,
    margin: int,
    padding: Padding = "zero",
    precision: Precision = "float32",
) -> Float[Array, "*batch h2 w2 d"]:
    """Convolve at stride 2, explicitly padded; a last row or column that does not fit is dropped.

    Its input gradient is that of a convolution at stride 1 over blocks of 2x2 pixels, in canonical
    layout.

    Args:
      x: Feature map, with or without one batch axis.
      kernel: Square.
      bias: One value per output channel, or None.
      margin: Rows and columns added on every side.
      padding: What they hold.
      precision: Of the products, here and in both gradients.

    Returns:
      ``(h + 2 * margin - k) // 2 + 1`` rows, and columns alike.
    """
    if padding != "zero":
        x, margin = pad(x, (margin, margin), padding), 0
    out = stride2_conv(margin, PRODUCTS[precision], x if x.ndim == 4 else x[None], kernel)
    return add_bias(out if x.ndim == 4 else out[0], bias)


def add_bias(x: Array, bias: Array | None) -> Array:
    """Add one value per channel, if there is a bias."""
    return x if bias is None else x + bias.reshape((1,) * (x.ndim - 1) + (-1,))


@jax.custom_vjp
def relu(x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
    """Set negative values to zero, keeping for the gradient the result alone."""
    return lax.optimization_barrier(jnp.maximum(x, 0))  # type: ignore[no-untyped-call]


def _relu_forward(x: Array) -> tuple[Array, Array]:
    result = relu(x)
    return result, result


def _relu_backward(result: Array, grad: Array) -> tuple[Array]:
    return (jnp.where(result > 0, grad, 0),)


relu.defvjp(_relu_forward, _relu_backward)


def pad(
    x: Float[Array, "*batch h w c"], margin: tuple[int, int], padding: Padding
) -> Float[Array, "*batch h2 w2 c"]:
    """Add ``margin`` rows above and below and columns left and right."""
    if padding == "edge":
        return _repeat_edges(x, margin)
    widths = [(0, 0)] * (x.ndim - 3) + [(m, m) for m in margin] + [(0, 0)]
    return jnp.pad(x, widths, mode="reflect" if padding == "reflect" else "constant")


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _repeat_edges(x: Array, margin: tuple[int, int]) -> Array:
    """Pad with the edges.

    Its gradient adds what lies beyond an edge to the edge alone. JAX' own adds arrays as large as
    the feature map and takes 43 % more memory (docs/experiments.md).
    """
    widths = [(0, 0)] * (x.ndim - 3) + [(m, m) for m in margin] + [(0, 0)]
    return jnp.pad(x, widths, mode="edge")


def _repeat_edges_forward(x: Array, margin: tuple[int, int]) -> tuple[Array, None]:
    return _repeat_edges(x, margin), None


def _repeat_edges_backward(margin: tuple[int, int], _: None, grad: Array) -> tuple[Array]:
    for axis, width in ((-2, margin[1]), (-3, margin[0])):
        size = grad.shape[axis] - 2 * width
        before, inner, after = jnp.split(grad, [width, width + size], axis)
        before, after = (part.sum(axis, keepdims=True) for part in (before, after))
        if size == 1:
            grad = inner + before + after
        elif width:
            first, middle, last = jnp.split(inner, [1, size - 1], axis)
            grad = jnp.concatenate([first + before, middle, last + after], axis)
    return (grad,)


_repeat_edges.defvjp(_repeat_edges_forward, _repeat_edges_backward)


AVERAGE_SCALE = 1.35
"""Factor of the means of 2x2 squares.

Measured on photographs and paintings, mean activations from relu2_1 to the deepest map are 0.91 to
1.02 times those with maxima in VGG19 (to relu3_4); in VGG16 and vgg16-lite 0.85 to 1.08 times up to
relu4_1, and 0.55 to 0.75 times at relu5_1. style-transfer-pytorch uses 2, which doubles those of
relu3_4 in VGG19."""

OVERLAPPING_SCALE = 1.6
"""The same for means of 3x3 squares: 0.84 to 1.21 in SqueezeNet."""


def pool(x: Float[Array, "*batch h w c"], pooling: Pooling) -> Float[Array, "*batch h2 w2 c"]:
    """Reduce every 2x2 square to one position; an odd last row or column is dropped.

    ``avg-scaled`` is the mean times ``AVERAGE_SCALE``: with plain means, the maps of a network
    trained with maxima become weaker from layer to layer.
    """
    h, w = x.shape[-3] // 2 * 2, x.shape[-2] // 2 * 2
    top, bottom = x[..., 0:h:2, :w, :], x[..., 1:h:2, :w, :]
    a, b = top[..., 0::2, :], top[..., 1::2, :]
    c, d = bottom[..., 0::2, :], bottom[..., 1::2, :]
    if pooling == "max":
        return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
    mean = 0.25 * (a + b + (c + d))
    return AVERAGE_SCALE * mean if pooling == "avg-scaled" else mean


def overlapping_pool(
    x: Float[Array, "*batch h w c"], pooling: Pooling, *, margin: int = 0
) -> Float[Array, "*batch h2 w2 c"]:
    """Reduce every second 3x3 square to its maximum, its mean, or ``OVERLAPPING_SCALE`` times that.

    Args:
      x: Feature map after a ReLU, or any without negative values if there is a margin.
      pooling: ``max``, ``avg`` or ``avg-scaled``.
      margin: Rows and columns of zeros added on every side.

    Returns:
      ``(h + 2 * margin - 3) // 2 + 1`` rows, and columns alike.
    """
    x = pad(x, (margin, margin), "zero")
    for axis in (x.ndim - 3, x.ndim - 2):
        count = (x.shape[axis] - 3) // 2 + 1
        first, second, third = (
            lax.slice_in_dim(x, start, start + 2 * count - 1, 2, axis) for start in range(3)
        )
        if pooling == "max":
            x = jnp.maximum(jnp.maximum(first, second), third)
        else:
            x = (first + second + third) / 3
    return OVERLAPPING_SCALE * x if pooling == "avg-scaled" else x

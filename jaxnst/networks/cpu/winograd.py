"""3x3 convolutions by Winograd's minimal filtering, for CPUs (Lavin and Gray 2016, section 4.1).

A square of 2x2 outputs takes 16 products of channel vectors with matrices instead of 36. Squares
are transformed, multiplied by a kernel that was transformed once, and transformed back, by
additions only. With many channels this takes half of the time that XLA's convolution takes on a CPU
(figures in docs/performance.md). It differs from that by rounding, 1e-6 of the largest value.

:func:`prepare` puts transformed kernels beside the plain ones, and a convolution that has one
uses it. Everything else sees parameters as they were.

Reference:
  Lavin, Gray: Fast Algorithms for Convolutional Neural Networks. CVPR 2016.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

KEY = "winograd"
"""Name of a transformed kernel among a layer's parameters."""

LEAST_CHANNELS = 256
"""Below this, transforming squares takes longer than is saved."""

_FLIPPED = (3, 1, 2, 0)
"""Order of rows and columns in the transform of a kernel that is rotated by 180 degrees."""


def prepare(params: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Put transformed kernels beside those that they are faster than.

    Args:
      params: By layer. Every 3x3 kernel is of a convolution at stride 1.

    Returns:
      The same, with ``winograd``, ``(16, c, d)``, in some layers if the parameters lie on a CPU:
      accelerators have convolutions of their own.
    """
    return {
        name: {**layer, KEY: transform(layer["kernel"])} if _is_faster(layer) else layer
        for name, layer in params.items()
    }


def _is_faster(layer: dict[str, Any]) -> bool:
    kernel = layer.get("kernel")
    if kernel is None or kernel.shape[:2] != (3, 3) or min(kernel.shape[2:]) < LEAST_CHANNELS:
        return False
    if isinstance(kernel, jax.core.Tracer):  # whose device is not known yet
        return False
    return all(device.platform == "cpu" for device in kernel.devices())


@jax.jit
def transform(kernel: Float[Array, "3 3 c d"]) -> Float[Array, "16 c d"]:
    """Transform a kernel: ``G k G^T`` over its height and width."""
    rows = _transformed(list(kernel))
    return jnp.stack([column for row in rows for column in _transformed(list(row))])


def _transformed(three: list[Array]) -> list[Array]:
    """Multiply by G."""
    a, b, c = three
    return [a, (a + b + c) / 2, (a - b + c) / 2, c]


@jax.custom_vjp
def winograd_conv(
    x: Float[Array, "n h w c"], transformed: Float[Array, "16 c d"]
) -> Float[Array, "n h w d"]:
    """Convolve 3x3 at stride 1, with zeros beyond the border, keeping height and width.

    The kernel is from :func:`transform`.
    """
    return _convolved(x, transformed, flipped=False)


def _convolved(x: Array, transformed: Array, *, flipped: bool) -> Array:
    """Convolve, or with ``flipped`` with the kernel rotated and its channels exchanged."""
    n, height, width, c = x.shape
    counts = -(-height // 2), -(-width // 2)
    x = jnp.pad(x, [(0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0)])
    order = _FLIPPED if flipped else range(4)
    rows = _of_inputs(_every_second(x, 1, counts[0]))
    squares = [_of_inputs(_every_second(row, 2, counts[1])) for row in rows]
    stacked = jnp.stack([squares[i][j] for i in order for j in order]).reshape(16, -1, c)
    contracted = (((2,), (2 if flipped else 1,)), ((0,), (0,)))
    products = lax.dot_general(stacked, transformed, contracted, precision=lax.Precision.HIGHEST)
    products = products.reshape(4, 4, n, *counts, -1)
    columns = [_of_products([products[i, j] for i in order]) for j in order]
    lines = [_of_products([column[i] for column in columns]) for i in range(2)]
    # (n, rows of squares, row in a square, columns of squares, column in a square, channels)
    stacked = jnp.stack([jnp.stack(line, 3) for line in lines], 2)
    return stacked.reshape(n, 2 * counts[0], 2 * counts[1], -1)[:, :height, :width]


def _every_second(x: Array, axis: int, count: int) -> list[Array]:
    """Return every second row or column, from each of the first four."""
    return [lax.slice_in_dim(x, i, i + 2 * count - 1, 2, axis) for i in range(4)]


def _of_inputs(four: list[Array]) -> list[Array]:
    """Multiply by B^T."""
    a, b, c, d = four
    return [a - c, b + c, c - b, b - d]


def _of_products(four: list[Array]) -> list[Array]:
    """Multiply by A^T."""
    a, b, c, d = four
    return [a + b + c, b - c - d]


def _forward(x: Array, transformed: Array) -> tuple[Array, tuple[Array, Array]]:
    return winograd_conv(x, transformed), (x, transformed)


def _backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, transformed = saved
    _, kernel_vjp = jax.vjp(partial(_convolved, x, flipped=False), transformed)
    return _convolved(grad, transformed, flipped=True), kernel_vjp(grad)[0]


winograd_conv.defvjp(_forward, _backward)

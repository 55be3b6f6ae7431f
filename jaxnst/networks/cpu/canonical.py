"""Convolution at stride 1, with gradients in the forms that XLA's CPU backend is fast at.

JAX's own input gradient permutes the kernel's axes, and inside a loop body XLA does not undo that,
which makes the gradient several times slower there than outside. Here it is another convolution in
canonical layout. A convolution is fastest if it keeps height and width, even where part of the
result is cut off; a kernel's gradient is fastest without the part that was cut (figures in
docs/performance.md).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Margin = tuple[int, int]


def plain_conv(
    margin: Margin,
    how: lax.Precision,
    x: Float[Array, "n h w c"],
    kernel: Float[Array, "k l c d"],
    *,
    stride: int = 1,
) -> Float[Array, "n _ _ d"]:
    """Convolve with zeros in the margin, with JAX's own gradients."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=[(m, m) for m in margin],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=how,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def canonical_conv(
    margin: Margin,
    cut: Margin,
    how: lax.Precision,
    x: Float[Array, "n h w c"],
    kernel: Float[Array, "k l c d"],
) -> Float[Array, "n _ _ d"]:
    """Convolve with zeros in the margin.

    Args:
      margin: Rows above and below, columns left and right.
      cut: Rows and columns of the result to leave out at each side, at most the margin.
      how: Precision of the products, here and in both gradients.
      x: Feature maps.
      kernel: Of any size.

    Returns:
      ``h + 2 * (margin - cut) - k + 1`` rows, and columns alike.
    """
    out = plain_conv(margin, how, x, kernel)
    (top, left), (height, width) = cut, out.shape[1:3]
    return out[:, top : height - top, left : width - left]


def _forward(
    margin: Margin, cut: Margin, how: lax.Precision, x: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array]]:
    return canonical_conv(margin, cut, how, x, kernel), (x, kernel)


def _backward(
    margin: Margin, cut: Margin, how: lax.Precision, saved: tuple[Array, Array], grad: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    visible = (margin[0] - cut[0], margin[1] - cut[1])
    if kernel.shape[:2] == (2, 2) and visible == (0, 0):
        # Tap by tap: two to three times faster than as a convolution.
        height, width = grad.shape[1:3]
        tap = partial(jnp.einsum, "nhwc,nhwd->cd", precision=how)
        rows = [[tap(x[:, i : i + height, j : j + width], grad) for j in (0, 1)] for i in (0, 1)]
        grad_kernel = jnp.stack([jnp.stack(row) for row in rows])
    else:
        _, kernel_vjp = jax.vjp(partial(plain_conv, visible, how, x), kernel)
        grad_kernel = kernel_vjp(grad)[0]
    padded = jnp.pad(grad, [(0, 0), (cut[0], cut[0]), (cut[1], cut[1]), (0, 0)])
    # Without the barrier XLA makes those zeros part of the convolution's margin, which then no
    # longer keeps height and width, and is slower.
    padded = lax.optimization_barrier(padded)  # type: ignore[no-untyped-call]
    full = (kernel.shape[0] - 1 - margin[0], kernel.shape[1] - 1 - margin[1])
    flipped = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    return plain_conv(full, how, padded, flipped), grad_kernel


canonical_conv.defvjp(_forward, _backward)

"""Convolutions over blocks of pixels: those with few channels, and gradients of 2x2 kernels."""

from functools import partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnst.networks.cpu.canonical import canonical_conv, plain_conv
from jaxnst.networks.cpu.space_to_depth import (
    depth_to_space,
    is_narrow,
    narrow_conv,
    space_to_depth,
)
from jaxnst.networks.layers import conv

HOW = lax.Precision.HIGHEST
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
NARROW = [(9, 3, 16, (12, 13)), (9, 16, 3, (9, 10)), (5, 16, 3, (6, 5)), (5, 4, 16, (7, 6))]


def data(rng, side, channels, width, shape):
    """Two maps and a kernel of normal values."""
    x = rng.normal(size=(2, *shape, channels))
    kernel = rng.normal(size=(side, side, channels, width)) / side
    return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)


def test_blocks_and_back(rng):
    x = jnp.asarray(rng.normal(size=(2, 6, 4, 3)), jnp.float32)
    blocks = space_to_depth(x)
    np.testing.assert_array_equal(blocks[1, 2, 1], x[1, 4:6, 2:4].ravel())
    np.testing.assert_array_equal(depth_to_space(blocks), x)


@pytest.mark.parametrize(
    ("shape", "chosen"),
    [
        ((9, 9, 3, 16), True),
        ((9, 9, 16, 3), True),
        ((5, 5, 32, 3), True),
        ((3, 3, 32, 3), False),
        ((3, 3, 3, 64), False),
        ((1, 1, 64, 3), False),
        ((5, 7, 64, 3), False),
        ((3, 3, 64, 64), False),
    ],
)
def test_which_kernels_are_narrow(shape, chosen):
    assert is_narrow(jnp.zeros(shape)) == chosen


@pytest.mark.parametrize(("side", "channels", "width", "shape"), NARROW)
@pytest.mark.parametrize("padding", ["zero", "edge", "reflect"])
def test_conv_with_few_channels_equals_a_float64_sum(rng, side, channels, width, shape, padding):
    x, kernel = data(rng, side, channels, width, shape)
    assert is_narrow(kernel)
    found = jax.jit(partial(conv, padding=padding))(x, kernel, None)
    for one, image in zip(found, x, strict=True):
        expected = helpers.conv2d(image, kernel, np.zeros(width), padding)
        np.testing.assert_allclose(one, expected, **CLOSE)


@pytest.mark.parametrize(("side", "channels", "width", "shape"), NARROW)
def test_gradients_with_few_channels_equal_jax_s_own(rng, side, channels, width, shape):
    larger = tuple(n + side - 1 for n in shape)
    x, kernel = data(rng, side, channels, width, larger)
    weights = jnp.asarray(rng.normal(size=(2, *shape, width)), jnp.float32)

    def gradients(convolve):
        total = lambda x, k: jnp.sum(weights * jnp.sin(convolve(HOW, x, k)))  # noqa: E731
        return jax.jit(jax.grad(total, (0, 1)))(x, kernel)

    expected = gradients(partial(plain_conv, (0, 0)))
    for one, other in zip(gradients(narrow_conv), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_gradients_of_small_kernels_equal_jax_s_own(rng, side):
    x, kernel = data(rng, side, 5, 6, (7, 8))
    margin = cut = (side // 2, side // 2)

    def gradients(convolve):
        return jax.jit(jax.grad(lambda x, k: jnp.sum(jnp.sin(convolve(x, k))), (0, 1)))(x, kernel)

    ours = (partial(canonical_conv, m, c, HOW) for m, c in ((margin, cut), ((0, 0), (0, 0))))
    expected = gradients(partial(plain_conv, (0, 0), HOW))
    for convolve in ours:
        for one, other in zip(gradients(convolve), expected, strict=True):
            np.testing.assert_allclose(one, other, **CLOSE)

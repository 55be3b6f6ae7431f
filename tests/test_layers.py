"""Convolution and pooling, and their gradients, alone, in compiled loops and under vmap."""

import itertools
from functools import partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnst.networks.layers import (
    conv,
    overlapping_pool,
    pad,
    pool,
    relu,
    strided_conv,
)

PADDINGS = ["zero", "edge", "reflect"]
# Sums of up to 800 products of normal values in float32; the references are float64.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def data(rng, channels, side=3, shape=(9, 11), width=6):
    """Image, kernel and bias: normal values, the kernel scaled so that outputs are normal too."""
    x = rng.normal(size=(*shape, channels))
    kernel = rng.normal(size=(side, side, channels, width)) / side / np.sqrt(channels)
    return tuple(jnp.asarray(a, jnp.float32) for a in (x, kernel, rng.normal(size=width)))


def plain_conv(x, kernel, bias, padding):
    """The same by JAX's own convolution and padding, differentiated by JAX."""
    margins = [(s // 2, s // 2) for s in kernel.shape[:2]]
    mode = helpers.PAD_MODES[padding]
    out = lax.conv_general_dilated(
        jnp.pad(x, [*margins, (0, 0)], mode=mode)[None],
        kernel,
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )[0]
    return out + jnp.broadcast_to(bias, out.shape)


# Convolution, forward.


@pytest.mark.parametrize(
    ("channels", "side", "padding"),
    [*itertools.product([3, 8], [1, 3, 5], PADDINGS), *((c, 3, "zero") for c in (1, 4, 5, 32))],
)
def test_conv_equals_a_float64_sum(rng, channels, side, padding):
    x, kernel, bias = data(rng, channels, side)
    expected = helpers.conv2d(x, kernel, bias, padding)
    out = jax.jit(partial(conv, padding=padding))(x, kernel, bias)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, expected, **CLOSE)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("channels", [3, 8])
def test_conv_compiled_equals_conv_plain(rng, channels, padding):
    args = data(rng, channels)
    plain = conv(*args, padding=padding)
    np.testing.assert_allclose(jax.jit(partial(conv, padding=padding))(*args), plain, **CLOSE)


@pytest.mark.parametrize("channels", [3, 8])
def test_conv_of_a_kernel_that_is_not_square(rng, channels):
    x, kernel, bias = data(rng, channels, 5)
    tall = kernel[:, 1:4]
    np.testing.assert_allclose(conv(x, tall, bias), helpers.conv2d(x, tall, bias), **CLOSE)


def test_conv_is_a_correlation_which_does_not_flip_the_kernel():
    x = jnp.zeros((3, 3, 1)).at[1, 1, 0].set(1)
    kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    out = conv(x, kernel, jnp.zeros(1))
    np.testing.assert_array_equal(out[..., 0], kernel[::-1, ::-1, 0, 0])


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("channels", [3, 8])
def test_conv_of_a_batch_equals_the_images_one_by_one(rng, channels, padding):
    x, kernel, bias = data(rng, channels, shape=(4, 6, 7))
    one_by_one = [helpers.conv2d(image, kernel, bias, padding) for image in x]
    out = conv(x, kernel, bias, padding=padding)
    np.testing.assert_allclose(out, one_by_one, **CLOSE)


@pytest.mark.parametrize("shape", [(2, 3), (3, 4), (2, 2)])
def test_conv_refuses_an_even_kernel(shape):
    kernel = jnp.ones((*shape, 3, 2))
    with pytest.raises(ValueError, match=f"kernel is {shape[0]}x{shape[1]}.*odd"):
        conv(jnp.ones((5, 5, 3)), kernel, jnp.zeros(2))


def test_pad_repeats_the_border_or_mirrors_without_it():
    x = jnp.arange(12.0).reshape(3, 4, 1)
    for padding, mode in helpers.PAD_MODES.items():
        expected = np.pad(np.asarray(x), ((1, 1), (2, 2), (0, 0)), mode=mode)
        np.testing.assert_array_equal(pad(x, (1, 2), padding), expected)


# Convolution, gradients.


def weighted(function, weights):
    """A scalar whose gradient involves every output differently, and not linearly in x."""
    return lambda x, k, b: jnp.sum(weights * jnp.sin(function(x, k, b)))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("channels", [3, 8])
def test_conv_gradients_equal_jax_s_own(rng, channels, side, padding):
    x, kernel, bias = data(rng, channels, side)
    weights = rng.normal(size=(*x.shape[:2], 6)).astype(np.float32)
    ours = weighted(lambda *args: conv(*args, padding=padding), weights)
    plain = weighted(lambda *args: plain_conv(*args, padding), weights)
    found = jax.jit(jax.grad(ours, (0, 1, 2)))(x, kernel, bias)
    expected = jax.jit(jax.grad(plain, (0, 1, 2)))(x, kernel, bias)
    for f, e in zip(found, expected, strict=True):
        assert f.shape == e.shape
        np.testing.assert_allclose(f, e, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("channels", [3, 8])
def test_conv_gradients_equal_finite_differences(rng, channels, padding):
    args = data(rng, channels, shape=(6, 7))
    weights = rng.normal(size=(6, 7, 6))
    ours = weighted(lambda *a: conv(*a, padding=padding), weights.astype(np.float32))
    for i, grad in enumerate(jax.jit(jax.grad(ours, (0, 1, 2)))(*args)):

        def reference(value, i=i):
            changed = [value if i == j else a for j, a in enumerate(args)]
            return np.sum(weights * np.sin(helpers.conv2d(*changed, padding)))

        direction = rng.normal(size=args[i].shape)
        expected = helpers.slope(reference, args[i], direction)
        found = np.vdot(np.asarray(grad, np.float64), direction)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("margin", [(1, 1), (2, 0), (0, 3)])
@pytest.mark.parametrize("shape", [(5, 6, 2), (1, 4, 2), (2, 3, 1, 2)])
def test_gradient_of_repeated_edges_sums_what_was_copied(rng, shape, margin):
    x = rng.normal(size=shape).astype(np.float32)
    height, width = shape[-3:-1]
    rows = np.clip(np.arange(-margin[0], height + margin[0]), 0, height - 1)
    columns = np.clip(np.arange(-margin[1], width + margin[1]), 0, width - 1)
    padded, vjp = jax.vjp(lambda x: pad(x, margin, "edge"), jnp.asarray(x))
    np.testing.assert_array_equal(padded, x[..., rows, :, :][..., columns, :])
    grad = rng.normal(size=padded.shape).astype(np.float32)
    expected = np.zeros(shape)
    np.add.at(expected, (..., rows[:, None], columns, slice(None)), grad)
    np.testing.assert_allclose(vjp(jnp.asarray(grad))[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [3, 8])
def test_conv_gradient_of_a_batch(rng, channels):
    x, kernel, bias = data(rng, channels, shape=(3, 6, 7))
    weights = rng.normal(size=(3, 6, 7, 6)).astype(np.float32)

    def total(x, k, b):
        return sum(
            weighted(lambda *a: plain_conv(*a, "edge"), w)(i, k, b)
            for i, w in zip(x, weights, strict=True)
        )

    ours = weighted(partial(conv, padding="edge"), weights)
    found = jax.jit(jax.grad(ours, (0, 1, 2)))(x, kernel, bias)
    expected = jax.jit(jax.grad(total, (0, 1, 2)))(x, kernel, bias)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("channels", [3, 8])
def test_conv_gradient_in_a_compiled_loop_and_under_vmap(rng, channels):
    xs, kernel, bias = data(rng, channels, shape=(3, 6, 7))

    def descend(function, x):
        """Three steps downhill, so that an error of one gradient reaches the result."""
        grad = jax.grad(lambda x: jnp.sum(jnp.sin(function(x, kernel, bias))))
        return lax.fori_loop(0, 3, lambda _, x: x - 0.1 * grad(x), x)

    found = jax.jit(jax.vmap(partial(descend, conv)))(xs)
    for x, f in zip(xs, found, strict=True):
        alone = jax.jit(partial(descend, conv))(x)
        expected = jax.jit(partial(descend, lambda *a: plain_conv(*a, "zero")))(x)
        np.testing.assert_allclose(alone, expected, **CLOSE)
        np.testing.assert_allclose(f, expected, **CLOSE)


# How the gradient is stated, which decides its speed in a loop (docs/performance.md).


def convolutions(function, *args):
    """The dimension numbers of every convolution that a compiled gradient needs."""
    text = jax.jit(function).lower(*args).as_text()
    return [
        line.split("dim_numbers = ")[1].split(",\n")[0].split(", window")[0]
        for line in text.splitlines()
        if "stablehlo.convolution" in line
    ]


CANONICAL = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"


def loop_gradient(function):
    def run(x, kernel, bias):
        grad = jax.grad(lambda x: jnp.sum(jnp.sin(function(x, kernel, bias))))
        return lax.fori_loop(0, 3, lambda _, x: x - 0.1 * grad(x), x)

    return run


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("channels", [3, 8])
def test_input_gradient_is_a_convolution_in_canonical_layout(rng, channels, padding):
    """Without it XLA's CPU backend takes four times as long in a loop body (measured)."""
    args = data(rng, channels)
    found = convolutions(loop_gradient(partial(conv, padding=padding)), *args)
    assert found and set(found) == {CANONICAL}


def test_that_the_test_above_would_see_jax_s_own_gradient(rng):
    found = convolutions(loop_gradient(lambda *a: plain_conv(*a, "zero")), *data(rng, 8))
    assert CANONICAL in found and set(found) != {CANONICAL}


@pytest.mark.parametrize("channels", [3, 8])
def test_input_gradient_alone_computes_no_kernel_gradient(rng, channels):
    """One convolution forward and one for the input gradient, which a frozen network needs."""
    grad = jax.grad(lambda *a: jnp.sum(jnp.sin(conv(*a))))
    assert len(convolutions(grad, *data(rng, channels))) == 2


# Pooling.

POOLINGS = ["max", "avg", "avg-scaled"]


@pytest.mark.parametrize("shape", [(4, 6), (5, 7), (5, 4), (2, 3)])
@pytest.mark.parametrize("kind", POOLINGS)
def test_pooling_equals_square_by_square(rng, kind, shape):
    run = partial(pool, pooling=kind)
    x = jnp.asarray(rng.normal(size=(*shape, 3)), jnp.float32)
    batch = jnp.stack([x, -x])
    expected = [helpers.pool2d(x, kind), helpers.pool2d(-x, kind)]
    close = partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
    close(run(x), expected[0])
    close(jax.jit(run)(batch), expected)
    close(jax.jit(jax.vmap(run))(batch), expected)


@pytest.mark.parametrize("shape", [(4, 6), (5, 7)])
@pytest.mark.parametrize("kind", POOLINGS)
def test_pooling_gradient_equals_finite_differences(rng, kind, shape):
    x = rng.normal(size=(*shape, 3))
    weights = rng.normal(size=(shape[0] // 2, shape[1] // 2, 3)).astype(np.float32)
    grad = jax.grad(lambda x: jnp.sum(weights * pool(x, kind)))(jnp.asarray(x, jnp.float32))
    direction = rng.normal(size=x.shape)
    expected = helpers.slope(lambda x: np.sum(weights * helpers.pool2d(x, kind)), x, direction)
    np.testing.assert_allclose(np.vdot(grad, direction), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling_shares_out_the_gradient_of_equal_values(kind):
    grad = jax.grad(lambda x: pool(x, kind).sum())(jnp.ones((4, 4, 2)))
    np.testing.assert_array_equal(grad, np.full((4, 4, 2), 0.25))


# Strides.


def plain_strided_conv(x, kernel, bias, margin):
    """The same by JAX's own strided convolution, differentiated by JAX."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    margins = [(margin, margin)] * 2
    out = lax.conv_general_dilated(x[None], kernel, (2, 2), margins, dimension_numbers=dimensions)[
        0
    ]
    return out + jnp.broadcast_to(bias, out.shape)


# Kernel side and margin of DenseNet's stem, of SqueezeNet's, and of others.
STRIDED = [(7, 3), (3, 0), (3, 1), (4, 1), (1, 0)]


@pytest.mark.parametrize("shape", [(11, 14), (12, 13), (7, 7)])
@pytest.mark.parametrize(("side", "margin"), STRIDED)
def test_strided_conv_equals_a_float64_sum(rng, side, margin, shape):
    x, kernel, bias = data(rng, 3, side, shape)
    for padding in PADDINGS if margin else ["zero"]:
        out = jax.jit(partial(strided_conv, margin=margin, padding=padding))(x, kernel, bias)
        mode = helpers.PAD_MODES[padding]
        padded = np.pad(np.asarray(x), [(margin, margin), (margin, margin), (0, 0)], mode=mode)
        expected = helpers.halving_conv2d(padded, kernel, 0, np.asarray(bias))
        assert out.shape == expected.shape
        np.testing.assert_allclose(out, expected, **CLOSE)


@pytest.mark.parametrize(("side", "margin"), STRIDED)
def test_strided_conv_gradients_equal_jax_s_own(rng, side, margin):
    x, kernel, bias = data(rng, 3, side, (10, 13))
    out = plain_strided_conv(x, kernel, bias, margin)
    weights = rng.normal(size=out.shape).astype(np.float32)
    ours = weighted(lambda *args: strided_conv(*args, margin=margin), weights)
    plain = weighted(lambda *args: plain_strided_conv(*args, margin), weights)
    found = jax.jit(jax.grad(ours, (0, 1, 2)))(x, kernel, bias)
    expected = jax.jit(jax.grad(plain, (0, 1, 2)))(x, kernel, bias)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-3, atol=1e-4)


def test_strided_conv_of_a_batch_equals_the_images_one_by_one(rng):
    x, kernel, bias = data(rng, 3, 7, (4, 9, 10))
    one_by_one = [strided_conv(image, kernel, bias, margin=3) for image in x]
    np.testing.assert_allclose(strided_conv(x, kernel, bias, margin=3), one_by_one, **CLOSE)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("margin", [0, 1])
@pytest.mark.parametrize("shape", [(9, 12), (8, 7), (3, 3)])
def test_overlapping_pool_looks_at_every_second_square(rng, shape, margin, pooling):
    x = np.abs(rng.normal(size=(*shape, 5))).astype(np.float32)
    reduce = np.max if pooling == "max" else np.mean
    expected = helpers.sliding(x, 3, margin, lambda square: reduce(square, axis=(0, 1)))
    expected = 1.6 * expected if pooling == "avg-scaled" else expected
    out = jax.jit(partial(overlapping_pool, pooling=pooling, margin=margin))(x)
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_overlapping_pool_s_gradient_equals_that_of_jax_s_own(rng):
    x = jnp.asarray(rng.normal(size=(11, 14, 5)), jnp.float32)  # no two values alike
    weights = rng.normal(size=(5, 6, 5)).astype(np.float32)

    def plain(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (3, 3, 1), (2, 2, 1), "VALID")

    found = jax.grad(lambda x: jnp.sum(weights * overlapping_pool(x, "max")))(x)
    expected = jax.grad(lambda x: jnp.sum(weights * plain(x)))(x)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 5, 3), (2, 4, 5, 3)])
def test_relu_and_its_gradient_are_those_of_jax(shape):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    x = x.at[..., 0].set(0.0).at[..., 1, 1].set(jnp.nan)
    weights = jnp.arange(x.size, dtype=jnp.float32).reshape(shape)
    np.testing.assert_array_equal(relu(x), jax.nn.relu(x))
    found, expected = (
        jax.jit(jax.grad(lambda x, f=f: jnp.sum(weights * f(x))))(x) for f in (relu, jax.nn.relu)
    )
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(jax.vmap(relu)(x[None])[0], relu(x))

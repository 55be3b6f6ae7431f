"""Color spaces, to and from RGB."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.networks import PREPROCESSING
from jaxnst.networks.color_space import decode, encode
from jaxnst.recipes.schema import Space

SPACES = {
    **PREPROCESSING,
    "skewed": Space(order="bgr", scale=255.0, mean=(1.0, 20.0, 300.0), deviation=(0.5, 2.0, 50.0)),
}


@pytest.mark.parametrize("name", SPACES)
def test_encode_equals_the_formula_channel_by_channel(name):
    image = helpers.picture(5, 7)
    found = encode(jnp.asarray(image), SPACES[name])
    # One rounding of values up to 255, and of their difference from a mean of that size.
    np.testing.assert_allclose(found, helpers.encode(image, SPACES[name]), rtol=1e-6, atol=1e-4)
    assert found.dtype == jnp.float32


@pytest.mark.parametrize("name", SPACES)
def test_decode_undoes_encode(name):
    image = jnp.asarray(helpers.picture(5, 7))
    np.testing.assert_allclose(decode(encode(image, SPACES[name]), SPACES[name]), image, atol=2e-6)
    point = encode(image, SPACES[name])
    expected = helpers.decode(np.asarray(point), SPACES[name])
    np.testing.assert_allclose(decode(point, SPACES[name]), expected, atol=2e-6)


def test_known_values():
    red = jnp.asarray([[[1.0, 0.0, 0.0]]])
    np.testing.assert_allclose(
        encode(red, PREPROCESSING["caffe"])[0, 0], [-103.939, -116.779, 255 - 123.68], rtol=1e-6
    )
    np.testing.assert_allclose(
        encode(red, PREPROCESSING["imagenet"])[0, 0],
        [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225],
        rtol=1e-6,
    )
    np.testing.assert_array_equal(encode(red, PREPROCESSING["identity"]), red)


def test_decode_clips_nothing():
    space = SPACES["caffe"]
    beyond = jnp.asarray([[[-0.5, 0.5, 1.5]]])
    np.testing.assert_allclose(decode(encode(beyond, space), space), beyond, atol=2e-6)


@pytest.mark.parametrize("function", [encode, decode])
def test_compiled_batched_and_differentiated(function):
    space = SPACES["skewed"]
    images = jnp.stack([jnp.asarray(helpers.picture(4, 6, seed)) for seed in range(3)])
    one_by_one = [function(image, space) for image in images]
    mapped = jax.jit(jax.vmap(lambda image: function(image, space)))(images)
    np.testing.assert_allclose(mapped, one_by_one, rtol=1e-5, atol=1e-4)

    weights = np.random.default_rng(0).normal(size=(4, 6, 3))
    reference = helpers.encode if function is encode else helpers.decode
    grad = jax.grad(lambda x: jnp.sum(jnp.asarray(weights, jnp.float32) * function(x, space)))
    found = np.vdot(grad(images[0]), weights)
    expected = helpers.slope(lambda x: np.sum(weights * reference(x, space)), images[0], weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5)

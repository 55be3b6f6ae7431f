"""Convolutions by Winograd's filtering: against sums in float64, and where they are used."""

from functools import partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.networks import PREPROCESSING
from jaxnst.networks.cpu import winograd
from jaxnst.networks.cpu.winograd import prepare, transform
from jaxnst.networks.layers import conv
from jaxnst.recipes.schema import Scales
from jaxnst.transfer.run import Run
from jaxnst.transfer.runner import optimize

# Sums of 72 products of values about 1 in float32, once more rounded by the transforms.
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


def data(rng, shape):
    x, kernel = rng.normal(size=shape), rng.normal(size=(3, 3, shape[-1], 6)) / 8
    return tuple(jnp.asarray(a, jnp.float32) for a in (x, kernel, rng.normal(size=6)))


@pytest.mark.parametrize("padding", ["zero", "edge", "reflect"])
@pytest.mark.parametrize("size", [(6, 8), (7, 8), (6, 5), (7, 9), (3, 3), (2, 2)])
def test_it_equals_a_float64_sum(rng, size, padding):
    x, kernel, bias = data(rng, (*size, 8))
    out = conv(x, kernel, bias, padding=padding, transformed=transform(kernel))
    np.testing.assert_allclose(out, helpers.conv2d(x, kernel, bias, padding), **CLOSE)


@pytest.mark.parametrize("padding", ["zero", "edge"])
@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_its_gradients_equal_the_plain_convolution_s(rng, size, padding):
    x, kernel, bias = data(rng, (*size, 8))
    weights = jnp.asarray(rng.normal(size=(*size, 6)), jnp.float32)

    def through(ready, x, kernel):
        transformed = transform(kernel) if ready else None
        out = conv(x, kernel, bias, padding=padding, transformed=transformed)
        return jnp.sum(weights * jnp.sin(out))

    plain, fast = (jax.grad(partial(through, r), argnums=(0, 1))(x, kernel) for r in (False, True))
    for expected, found in zip(plain, fast, strict=True):
        np.testing.assert_allclose(found, expected, **CLOSE)


def test_a_batch_equals_its_images_also_under_vmap(rng):
    x, kernel, bias = data(rng, (3, 5, 6, 8))
    one = partial(conv, kernel=kernel, bias=bias, transformed=transform(kernel))
    expected = jnp.stack([one(image) for image in x])
    np.testing.assert_allclose(one(x), expected, **CLOSE)
    np.testing.assert_allclose(jax.vmap(one)(x), expected, **CLOSE)


def test_only_kernels_with_many_channels_are_transformed():
    network = helpers.tiny_network(PREPROCESSING["caffe"], blocks=((8,), (256, 256)))
    prepared = prepare(network.params)
    assert [name for name, layer in prepared.items() if winograd.KEY in layer] == ["conv2_2"]
    assert prepared["conv2_2"][winograd.KEY].shape == (16, 256, 256)
    assert prepared["conv1_1"] is network.params["conv1_1"]


def test_parameters_are_prepared_within_a_compiled_function_too():
    params = {"conv": {"kernel": jnp.ones((3, 3, 512, 512)), "bias": jnp.ones(512)}}
    found = jax.jit(prepare)(params)
    assert set(found["conv"]) == {"kernel", "bias"}


def test_a_run_uses_it_and_loses_nothing(monkeypatch):
    network = helpers.tiny_network(PREPROCESSING["caffe"])
    pictures = helpers.picture(48, 64), [helpers.picture(48, 64, seed=1)]
    recipe = helpers.tiny_recipe(scales=Scales(several=False, evaluations=(4,)))

    def losses():
        run = Run(*pictures, network, recipe)
        return optimize(run).losses["total"], run.tuned_parameters()

    plain, without = losses()
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 4)
    fast, prepared = losses()
    assert not any(winograd.KEY in layer for layer in without.values())
    assert any(winograd.KEY in layer for layer in prepared.values())
    assert not np.array_equal(plain, fast), "it was not used"
    np.testing.assert_allclose(fast, plain, rtol=1e-4)

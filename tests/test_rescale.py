"""Filters rescaled by factors that the next layer takes back."""

import dataclasses

import helpers
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.networks import PREPROCESSING, init_network
from jaxnst.networks.rescale import LEAST_MEAN, unit_means

PICTURE = jnp.asarray(helpers.picture(24, 32))
OTHER = jnp.asarray(helpers.picture(16, 40, seed=3))


@pytest.fixture(scope="module", params=["max", "avg"])
def network(request):
    return helpers.tiny_network(PREPROCESSING["caffe"], pooling=request.param)


def test_filters_are_multiplied_and_deeper_layers_stay_as_they_are(network):
    layers = network.layers
    params = unit_means(network, [PICTURE], deepest="relu2_1")
    before, after = (
        {name: np.asarray(f) for name, f in network.features(p, PICTURE, layers).items()}
        for p in (network.params, params)
    )
    factor, changed = 1.0, []
    for layer in layers:
        if layer in params:
            factor = np.asarray(params[layer]["bias"] / network.params[layer]["bias"])
            changed += [layer] * bool(np.any(np.abs(factor - 1) > 0.01))
        # A ReLU and a pooling pass it on.
        np.testing.assert_allclose(after[layer], before[layer] * factor, rtol=1e-4, atol=1e-3)
    assert changed == ["conv1_1", "conv1_2", "conv2_1"]


def test_the_order_of_the_parameters_is_that_of_the_layers_whatever_the_file_s(network):
    turned = dict(reversed(network.params.items()))
    mixed = dataclasses.replace(network, params=turned)
    expected = unit_means(network, [PICTURE])
    for layer, arrays in unit_means(mixed, [PICTURE]).items():
        for part, values in expected[layer].items():
            np.testing.assert_array_equal(arrays[part], values)


def test_unit_means_are_those_of_all_pictures_alike(network):
    params = unit_means(network, [PICTURE, OTHER])
    relus = tuple(name for name in network.layers if name.startswith("relu"))
    means = {
        name: np.mean(
            [network.features(params, p, relus)[name].mean((0, 1)) for p in (PICTURE, OTHER)],
            axis=0,
        )
        for name in relus
    }
    usual = network.features(network.params, PICTURE, relus)
    for name, values in means.items():
        loud = values > 1e-6
        np.testing.assert_allclose(values[values > 0.999], 1, rtol=1e-4)
        assert np.all(values <= 1 + 1e-4) and np.any(values > 0.999), usual[name].mean((0, 1))[loud]


def test_a_silent_filter_is_not_made_infinitely_loud(network):
    params = unit_means(network, [PICTURE])
    for name, arrays in params.items():
        grown = np.abs(arrays["bias"]) / np.maximum(np.abs(network.params[name]["bias"]), 1e-9)
        relu = name.replace("conv", "relu")
        mean = network.features(network.params, PICTURE, (relu,))[relu].mean((0, 1))
        assert grown.max() <= 1.01 / (LEAST_MEAN * mean.mean())


def test_blank_pictures_leave_finite_parameters(network):
    for arrays in unit_means(network, [jnp.zeros((16, 16, 3))]).values():
        assert all(np.all(np.isfinite(values)) for values in arrays.values())


def test_what_cannot_be_rescaled_is_refused(network):
    with pytest.raises(ValueError, match="images is empty"):
        unit_means(network, [])
    dense = init_network("densenet121")
    with pytest.raises(ValueError, match="densenet121 cannot be rescaled: only a VGG can"):
        unit_means(dense, [PICTURE])

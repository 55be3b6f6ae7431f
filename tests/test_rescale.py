"""Feature maps multiplied by factors that the next layer takes back."""

import dataclasses

import helpers
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.networks import PREPROCESSING, init_network
from jaxnst.networks.rescale import LEAST_MEAN, rescale, unit_means

PICTURE = jnp.asarray(helpers.picture(24, 32))
OTHER = jnp.asarray(helpers.picture(16, 40, seed=3))


@pytest.fixture(scope="module", params=["max", "avg"])
def network(request):
    return helpers.tiny_network(PREPROCESSING["caffe"], pooling=request.param)


def test_layers_are_multiplied_and_the_others_stay_as_they_are(network):
    factors = {"relu1_2": 3.0, "conv3_1": np.arange(1.0, 9.0)}
    params = rescale(network, factors)
    layers = network.layers
    before, after = (
        {name: np.asarray(f) for name, f in network.features(p, PICTURE, layers).items()}
        for p in (network.params, params)
    )
    for layer in layers:
        factor = factors.get(layer.replace("pool1", "relu1_2").replace("conv1_2", "relu1_2"), 1.0)
        if layer in ("conv3_1", "relu3_1"):
            factor = factors["conv3_1"]
        np.testing.assert_allclose(after[layer], before[layer] * factor, rtol=1e-4, atol=1e-3)


def test_the_order_of_the_parameters_is_that_of_the_layers_whatever_the_file_s(network):
    turned = dict(reversed(network.params.items()))
    mixed = dataclasses.replace(network, params=turned)
    for layer, arrays in rescale(mixed, {"relu1_2": 3.0}).items():
        for part, values in rescale(network, {"relu1_2": 3.0})[layer].items():
            np.testing.assert_array_equal(arrays[part], values)


def test_keras_names_are_understood_and_unknown_ones_refused(network):
    one = rescale(network, {"block1_conv2": 2.0})
    other = rescale(network, {"relu1_2": 2.0})
    np.testing.assert_array_equal(one["conv1_2"]["kernel"], other["conv1_2"]["kernel"])
    with pytest.raises(KeyError, match="relu9_1"):
        rescale(network, {"relu9_1": 2.0})


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
        rescale(dense, {})
    with pytest.raises(ValueError, match="densenet121 cannot be rescaled"):
        unit_means(dense, [PICTURE])

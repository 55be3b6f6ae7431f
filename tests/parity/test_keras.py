"""The same network with the same parameters in Keras, whose published files people use."""

import os

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.networks import extract_features, init_network

pytestmark = [
    pytest.mark.torch,
    # What Keras warns of is not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]

# Sixteen layers, each a sum of up to 4608 products in float32; relative to a layer's largest value.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def keras():
    """Keras on JAX, which broadcasts as our own code may not."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    with jax.numpy_rank_promotion("allow"):
        yield pytest.importorskip("keras", reason="Keras is not installed")


def keras_name(layer):
    block, index = layer.removeprefix("conv").split("_")
    return f"block{block}_conv{index}"


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_features_equal_those_of_keras_applications(keras, name):
    image, network = helpers.picture(64, 64), init_network(name)
    applications = keras.applications
    build, module = {
        "vgg16": (applications.VGG16, applications.vgg16),
        "vgg19": (applications.VGG19, applications.vgg19),
    }[name]
    model = build(include_top=False, weights=None, input_shape=(64, 64, 3))
    for layer, parts in network.params.items():
        values = [np.asarray(parts["kernel"]), np.asarray(parts["bias"])]
        model.get_layer(keras_name(layer)).set_weights(values)
    # Keras' layers include the activation, and so do its names of ours.
    names = [layer.name for layer in model.layers[1:]]
    every = keras.Model(model.inputs, [model.get_layer(n).output for n in names])
    prepared = module.preprocess_input(255 * image[None].astype(np.float32))
    expected = every.predict(prepared, verbose=0)

    assert len(names) == len(network.params) + 5
    found = extract_features(network, jnp.asarray(image), names)
    for layer, values in zip(names, expected, strict=True):
        values = np.asarray(values)[0]
        assert found[layer].shape == values.shape
        assert np.abs(found[layer] - values).max() < TOLERANCE * np.abs(values).max()

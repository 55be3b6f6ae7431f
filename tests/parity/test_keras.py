"""The same network with the same parameters in Keras, whose published files people use."""

import os

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import AGAINST_ANOTHER

from jaxnst.networks import (
    NETWORKS,
    PREPROCESSING,
    extract_features,
    init_network,
    load_network,
    make_network,
)

pytestmark = AGAINST_ANOTHER

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


PARTS = ("gamma", "beta", "mean", "variance")


def densenet(keras, name):
    """Keras' own DenseNet with random parameters and statistics, and the same as ours."""
    model = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(None, None, 3)
    )
    rng, parameters = np.random.default_rng(0), {}
    for layer in model.layers:
        shapes = [weights.shape for weights in layer.get_weights()]
        if len(shapes) == 4:
            values = [rng.uniform(0.5, 1.5, shape) for shape in shapes]
            values[1] -= 1.0
            values[2] -= 1.0
            layer.set_weights(values)
        for part, value in zip(
            PARTS if len(shapes) == 4 else ("kernel",), layer.get_weights(), strict=False
        ):
            parameters[f"{layer.name}/{part}"] = value
    return model, parameters


@pytest.mark.parametrize("name", ["DenseNet121", "DenseNet169", "DenseNet201"])
def test_every_layer_of_a_densenet_equals_that_of_keras_applications(keras, name):
    model, parameters = densenet(keras, name)
    entry = NETWORKS[name.lower()]
    assert list(parameters) == list(entry.module.shapes())
    network = make_network(name, entry.module, PREPROCESSING[entry.preprocessing], parameters)
    every = keras.Model(model.inputs, [model.get_layer(layer).output for layer in network.layers])
    image = helpers.picture(61, 90)  # odd at every second layer
    prepared = keras.applications.densenet.preprocess_input(
        255 * image[None].astype(np.float32), data_format="channels_last"
    )
    expected = every.predict(prepared, verbose=0)
    found = extract_features(network, jnp.asarray(image), network.layers)
    for layer, values in zip(network.layers, expected, strict=True):
        values = np.asarray(values)[0]
        assert found[layer].shape == values.shape
        assert np.abs(found[layer] - values).max() < TOLERANCE * np.abs(values).max()


def test_densenet_files_that_keras_writes(keras, tmp_path):
    """Today's forms, and the official file's, whose layers are named conv1/conv and nested."""
    h5py = pytest.importorskip("h5py")
    from keras.src.legacy.saving import legacy_h5_format

    model, parameters = densenet(keras, "DenseNet121")
    model.save_weights(tmp_path / "now.weights.h5")
    model.save(tmp_path / "whole.h5")
    with h5py.File(tmp_path / "legacy.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    with h5py.File(tmp_path / "official.h5", "w") as file:
        layers = [layer for layer in model.layers if layer.get_weights()]
        names = [layer.name.replace("conv1_conv", "conv1/conv") for layer in layers]
        names = [name.replace("conv1_bn", "conv1/bn") for name in names]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for name, layer in zip(names, layers, strict=True):
            group = file.create_group(name)
            parts = ("gamma", "beta", "moving_mean", "moving_variance")
            parts = parts if len(layer.get_weights()) == 4 else ("kernel",)
            paths = [f"{name}/{part}:0" for part in parts]
            group.attrs["weight_names"] = [path.encode() for path in paths]
            for path, value in zip(paths, layer.get_weights(), strict=True):
                group[path] = value
    for form in ("now.weights.h5", "whole.h5", "legacy.h5", "official.h5"):
        network = load_network("densenet121", weights=tmp_path / form)
        assert network.preprocessing == PREPROCESSING["imagenet"]
        assert network.layers[-1] == "relu" and network.module.epsilon == 1.001e-5
        for name, value in helpers.flat(network.params).items():
            np.testing.assert_array_equal(value, parameters[name])


@pytest.mark.parametrize("name", ["DenseNet121", "DenseNet169", "DenseNet201"])
def test_densenet_files_of_early_keras_3_have_no_names(keras, tmp_path, name):
    """As Keras writes them now, but for the names, which it took to writing beside the values."""
    h5py = pytest.importorskip("h5py")
    model, parameters = densenet(keras, name)
    path = tmp_path / "early.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        for layer in file["layers"].values():
            if "vars" in layer:
                layer["vars"].attrs.pop("name", None)
        assert not any("name" in layer["vars"].attrs for layer in file["layers"].values())
    network = load_network(name.lower(), weights=path)
    found = helpers.flat(network.params)
    assert set(found) == set(parameters)
    for key, value in found.items():
        np.testing.assert_array_equal(value, parameters[key])

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from weights_helpers import (
    SHAPES,
    SMALL,
    assert_refused,
    assert_same,
    flip,
    flips,
    fuzz,
    random_parameters,
    refused_or_read,
)

from jaxnst.networks import NETWORKS
from jaxnst.weights import _child, check_parameters, keras_h5, read_parameters
from jaxnst.weights._files import Refused

# Convolutions: two in each dense layer, one in the stem and in each of three transitions.
DENSENETS = {"densenet121": 120, "densenet169": 168, "densenet201": 200}

VGG19 = [f"conv{b}_{i}" for b, n in enumerate((2, 2, 4, 4, 4), 1) for i in range(1, n + 1)]


def keras_layers(params=None):
    """Layers as Keras calls them, each with its arrays in Keras' order."""
    params = random_parameters() if params is None else params
    return {
        re.sub(r"conv(\d)_(\d)", r"block\1_conv\2", layer): [
            params[f"{layer}/kernel"],
            params[f"{layer}/bias"],
        ]
        for layer in SMALL
    }


def write_official(root, layers, names=("{}_W_1:0", "{}_b_1:0")):
    """The layout of the official files, written into an open file or group."""
    root.attrs["layer_names"] = [b"input_1", *(layer.encode() for layer in layers), b"block1_pool"]
    for layer in ("input_1", "block1_pool"):
        root.create_group(layer).attrs["weight_names"] = np.array([])
    for layer, arrays in layers.items():
        group = root.create_group(layer)
        paths = [name.format(layer) for name in names]
        group.attrs["weight_names"] = [path.encode() for path in paths]
        for path, values in zip(paths, arrays, strict=True):
            group[path] = values


@pytest.fixture
def h5(tmp_path):
    """An open file with the small network in the official layout."""
    with h5py.File(tmp_path / "small_notop.h5", "w") as file:
        write_official(file, keras_layers())
        yield file


def closed(file):
    path = Path(file.filename)
    file.close()
    return path


def refuse_closed(file, pattern):
    """Without the process, which costs half a second, as nothing here is damaged."""
    with pytest.raises(Refused, match=pattern) as raised:
        keras_h5.read(str(closed(file)))
    assert ": " in str(raised.value)  # what to do


def test_keras_official_layout(h5):
    found, metadata = read_parameters(closed(h5))
    assert_same(found, random_parameters())
    assert metadata == {"format": "keras-h5"}
    assert found["conv1_1/kernel"].flags.writeable


def test_keras_weights_are_taken_in_the_listed_order_whatever_they_are_called(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_official(file, keras_layers(), names=("{}_1/z_bias:0", "{}_1/a_kernel:0"))
        file.attrs["layer_names0"] = file.attrs["layer_names"][:2]
        file.attrs["layer_names1"] = file.attrs["layer_names"][2:]
        del file.attrs["layer_names"]
    assert_same(read_parameters(tmp_path / "a.h5")[0], random_parameters())


def test_keras_whole_model_without_its_classifier(tmp_path):
    top = {"fc1": [np.ones((2, 3)), np.ones(3)], "predictions": [np.ones((3, 2)), np.ones(2)]}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_official(file.create_group("model_weights"), keras_layers() | top)
    assert_same(read_parameters(tmp_path / "a.h5")[0], random_parameters())


@pytest.mark.parametrize("named", [True, False])
def test_keras_3_layout_by_class_and_counter(tmp_path, named):
    values = {layer: np.full((1, 1, 1, 1), i, np.float32) for i, layer in enumerate(VGG19)}
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        for i, layer in enumerate(VGG19):
            group = file.create_group(f"layers/conv2d_{i}/vars" if i else "layers/conv2d/vars")
            group["0"], group["1"] = values[layer], np.full(1, i, np.float32)
            if named:
                group.attrs["name"] = f"block{layer[4]}_conv{layer[6]}"
        file["layers/dense/vars/0"] = np.ones((2, 3))
        file.create_group("layers/input_layer/vars")
    found, _ = read_parameters(tmp_path / "a.weights.h5")
    assert [name for name in found if name.endswith("kernel")] == [f"{n}/kernel" for n in VGG19]
    for i, layer in enumerate(VGG19):
        assert found[f"{layer}/kernel"].shape == (1, 1, 1, 1)
        assert found[f"{layer}/kernel"] == found[f"{layer}/bias"] == i


def write_by_class(path, layers):
    """The layout of early versions of Keras 3, which names no layer."""
    counts = {"conv2d": 0, "batch_normalization": 0}
    with h5py.File(path, "w") as file:
        for arrays in layers:
            kind = "batch_normalization" if len(arrays) == 4 else "conv2d"
            number = f"_{counts[kind]}" if counts[kind] else ""
            counts[kind] += 1
            for i, values in enumerate(arrays):
                file[f"layers/{kind}{number}/vars/{i}"] = values
        file.create_group("layers/input_layer/vars")


@pytest.mark.parametrize(("name", "convs"), DENSENETS.items())
def test_keras_3_densenet_by_class_and_counter(tmp_path, name, convs):
    layers = {}
    for key, shape in NETWORKS[name].module.shapes().items():
        layer, part = key.split("/")
        value = np.full((1,) * len(shape), len(layers), np.float32)
        layers.setdefault(layer, {})[part] = value
    write_by_class(tmp_path / "a.weights.h5", [list(parts.values()) for parts in layers.values()])
    found, _ = read_parameters(tmp_path / "a.weights.h5")
    expected = {f"{n}/{part}": v for n, parts in layers.items() for part, v in parts.items()}
    assert_same(dict(sorted(found.items())), dict(sorted(expected.items())))
    assert len(found) == convs + 4 * (convs + 1)


@pytest.mark.parametrize(("convs", "norms"), [(119, 121), (120, 120), (13, 1), (168, 201)])
def test_layers_without_names_that_fit_no_network_are_listed(tmp_path, convs, norms):
    layers = convs * [[np.ones((1, 1, 1, 1))]] + norms * [4 * [np.ones(1)]]
    write_by_class(tmp_path / "a.weights.h5", layers)
    found, _ = read_parameters(tmp_path / "a.weights.h5")
    expected = NETWORKS["densenet121"].module.shapes()
    with pytest.raises(ValueError, match=r"missing conv1_conv/kernel.*unexpected batch_norm"):
        check_parameters(found, expected, tmp_path / "a.weights.h5")


def test_keras_file_of_another_network_reads_and_does_not_fit(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_official(file, {"conv1": [np.ones((7, 7, 3, 4), np.float32), np.ones(4)]})
    found, _ = read_parameters(tmp_path / "a.h5")
    with pytest.raises(ValueError, match=r"missing conv1_1/kernel.*unexpected conv1/kernel"):
        check_parameters(found, SHAPES, tmp_path / "a.h5")


def virtual(group, name):
    layout = h5py.VirtualLayout((3, 3, 3, 4), "f4")
    layout[...] = h5py.VirtualSource("elsewhere.h5", "x", (3, 3, 3, 4))
    group.create_virtual_dataset(name, layout)


def linked(link):
    return lambda group, name: group.__setitem__(name, link)


def dataset(shape, dtype="f4", **words):
    return lambda group, name: group.create_dataset(name, shape, dtype, **words)


CHUNK = {"maxshape": (None, 1), "chunks": (2**27, 1), "compression": "gzip"}


@pytest.mark.parametrize(
    ("make", "pattern"),
    [
        (lambda group, name: None, "has no 'block1_conv1_W_1:0'"),
        (lambda group, name: group.create_group(name), "has a group where"),
        (linked(h5py.ExternalLink("elsewhere.h5", "x")), "another place or file"),
        (linked(h5py.SoftLink("/block1_conv2/block1_conv2_W_1:0")), "another place or file"),
        (dataset((9,), external=[("elsewhere", 0, 36)]), "in another file"),
        (virtual, "in another file"),
        (dataset((3,), h5py.string_dtype()), "stores block1_conv1 as object, expected floating"),
        (dataset((3,), "i8"), "stores block1_conv1 as int64, expected floating"),
        (dataset((2**20, 2**20)), "has 1099511627776 values, expected at most"),
        (dataset((1, 1), **CHUNK), "has 134217728 values, expected at most"),
    ],
)
def test_an_array_that_is_not_plain_is_refused(h5, make, pattern):
    name = "block1_conv1_W_1:0"
    del h5["block1_conv1"][name]
    make(h5["block1_conv1"], name)
    refuse_closed(h5, pattern)


@pytest.mark.parametrize(
    ("place", "key", "names", "pattern"),
    [
        ("/", "layer_names", ["block1_conv1"] * 2, "'block1_conv1' twice"),
        ("/", "layer_names", ["input_1"], "holds no weights"),
        ("/", "layer_names", ["block9_conv9"], "has no 'block9_conv9'"),
        ("/block1_conv1", "weight_names", ["/block1_conv1/x"], "has no '/block1_conv1/x'"),
    ],
)
def test_a_wrong_list_of_names_is_refused(h5, place, key, names, pattern):
    h5[place].attrs[key] = np.array([name.encode() for name in names])
    refuse_closed(h5, pattern)


def test_refusals_come_out_of_the_process_in_one_line(h5):
    h5.attrs["layer_names"] = ["no\n\x1b[31m" * 200]
    assert_refused(closed(h5), "has no 'no")


def test_names_that_are_no_text_are_damage(h5):
    h5["block1_conv1"].attrs["weight_names"] = [b"\xff"]
    assert_refused(closed(h5), "cut short or damaged")


def test_a_file_that_keras_did_not_write_is_refused(h5):
    del h5.attrs["layer_names"]
    refuse_closed(h5, "none of Keras' layouts")


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "a.h5"
    with h5py.File(path, "w") as file:
        write_official(file, keras_layers())
    return path.read_bytes()


@pytest.mark.parametrize("length", [8, 100, 2000, -1])
def test_keras_file_cut_short_is_refused(tmp_path, keras_file, length):
    (tmp_path / "a.h5").write_bytes(keras_file[:length])
    assert_refused(tmp_path / "a.h5", "cut short or damaged")


@settings(fuzz, max_examples=12)
@given(flips=flips)
def test_no_damage_to_a_keras_file_raises_anything_else(tmp_path, monkeypatch, keras_file, flips):
    monkeypatch.setattr(_child, "SECONDS", 5)  # the library does hang on one in a hundred
    refused_or_read(tmp_path / "a.h5", flip(keras_file, flips))


WRITE_WITH_KERAS = """
import sys, h5py, keras, numpy as np
from keras.src.legacy.saving import legacy_h5_format
for name in ("VGG16", "VGG19"):
    model = getattr(keras.applications, name)(
        weights=None, include_top=name == "VGG16", input_shape=(32, 32, 3), classes=10)
    rng = np.random.default_rng(0)
    layers = [layer for layer in model.layers if "conv" in layer.name]
    for layer in layers:
        layer.set_weights([rng.random(w.shape, np.float32) for w in layer.get_weights()])
    np.savez(f"{name}.npz", **{
        f"{layer.name}/{part}": w
        for layer in layers for part, w in zip(("kernel", "bias"), layer.get_weights())})
    model.save(f"{name}-whole.h5")
    model.save_weights(f"{name}.weights.h5")
    with h5py.File(f"{name}-legacy.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
"""


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "KERAS_HOME": str(folder)}
    subprocess.run(
        [sys.executable, "-c", WRITE_WITH_KERAS],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
    )
    yield folder
    shutil.rmtree(folder)  # close to a gigabyte


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")
@pytest.mark.parametrize("form", ["-whole.h5", ".weights.h5", "-legacy.h5"])
@pytest.mark.parametrize(("network", "layers"), [("VGG16", 13), ("VGG19", 16)])
def test_files_written_by_keras_itself(keras_files, network, layers, form):
    found, metadata = read_parameters(keras_files / f"{network}{form}")
    assert metadata == {"format": "keras-h5"}
    with np.load(keras_files / f"{network}.npz") as expected:
        names = {re.sub(r"block(\d)_conv(\d)", r"conv\1_\2", name): name for name in expected}
        assert_same(found, {ours: expected[theirs] for ours, theirs in names.items()})
    assert len(found) == 2 * layers

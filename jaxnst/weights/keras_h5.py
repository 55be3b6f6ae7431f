"""Read loss networks from the HDF5 files that Keras writes.

Understood are the official ``*_notop.h5`` files and others of that layout, whole models
(``model.save("x.h5")``) and Keras 3's ``.weights.h5``. The classifier's dense layers are left out.

Early versions of Keras 3 write layers without their names, as ``conv2d``, ``conv2d_1``, ...,
``batch_normalization``, ...: counted by class, in the order of the network. How many there are of
both tells the VGGs and the DenseNets from each other, and a check of shapes from anything else.

Call it through ``_child.py``: the HDF5 library crashes or hangs on some damaged files.
"""

import math
import re
from collections.abc import Iterator
from itertools import count, takewhile
from typing import Any

import h5py
import numpy as np

from jaxnst.weights._files import (
    Parameters,
    Refused,
    as_float32,
    check_values,
    not_floating,
    one_line,
)
from jaxnst.weights.state_dict import BLOCKS, conv_names

# Huang et al. 2017, table 1.
_DENSENET = ((6, 12, 24, 16), (6, 12, 32, 32), (6, 12, 48, 32))

# What a layer's arrays are, by their number: a convolution's, or batch normalization's.
_PARTS = {1: ("kernel",), 2: ("kernel", "bias"), 4: ("gamma", "beta", "mean", "variance")}

# The classifier on top: large, and of no use here.
_TOP = {"fc1", "fc2", "fc1000", "predictions"}


def read(path: str) -> tuple[Parameters, dict[str, str]]:
    """Read a file; layers that belong to no known family keep their names, so a check lists them.

    Raises:
      Refused: If it has none of Keras' layouts, or too many or other values.
      Exception: Of several kinds, if it is damaged.
    """
    layers: dict[str, list[Any]] = {}
    total = 0
    with h5py.File(path, "r", locking=False) as file:
        for name, datasets in _find(file):
            arrays = layers[one_line(name, 80)] = []
            for dataset in datasets:
                total += _checked_size(name, dataset, total)
                arrays.append(as_float32(dataset[()]))
    if not total:
        raise Refused("holds no weights: save the model after it was built")
    names = _names([name for name, arrays in layers.items() if arrays])
    params: Parameters = {}
    for layer, arrays in layers.items():
        parts = _PARTS.get(len(arrays), tuple(map(str, range(len(arrays)))))
        params.update({f"{names[layer]}/{p}": v for p, v in zip(parts, arrays, strict=True)})
    return params, {"format": "keras-h5"}


def _find(file: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield the name and the datasets of each layer."""
    root = _follow(file, "model_weights") if "model_weights" in file else file
    if any(key in root.attrs for key in ("layer_names", "layer_names0")):
        return _old_layout(root)
    if "layers" in file:
        return _new_layout(_follow(file, "layers"))
    raise Refused(
        "has none of Keras' layouts for weights (no layer_names, no layers): "
        "give a file written by Keras' save or save_weights"
    )


def _old_layout(root: Any) -> Iterator[tuple[str, list[Any]]]:
    """Keras 1 to 3, ``.h5``: names of layers and weights are listed in attributes."""
    seen = set()
    for name in _texts(root, "layer_names"):
        if name in seen:
            raise Refused(f"lists layer {one_line(name, 60)!r} twice: save the model again")
        seen.add(name)
        if name not in _TOP:
            layer = _follow(root, name)
            # The order counts: Keras itself reads by it and not by what the weights are called.
            yield name, [_follow(layer, key) for key in _texts(layer, "weight_names")]


def _new_layout(layers: Any) -> Iterator[tuple[str, list[Any]]]:
    """Keras 3, ``.weights.h5``: groups by class and counter, the layer's name in an attribute."""
    for key in sorted(layers, key=_counter):
        layer = _follow(layers, key)
        if "vars" not in layer:
            continue
        arrays = _follow(layer, "vars")
        name = str(arrays.attrs.get("name", key))
        if name not in _TOP and _counter(name)[0] != "dense":
            yield name, [_follow(arrays, str(index)) for index in range(len(arrays))]


def _counter(key: str) -> tuple[str, int]:
    """Sort conv2d_10 behind conv2d_9."""
    name, _, number = key.rpartition("_")
    return (name, int(number)) if name and number.isdecimal() else (key, 0)


def _texts(item: Any, key: str) -> Iterator[str]:
    """Read a list of names from an attribute; Keras splits long ones over key0, key1, ..."""
    numbered = (f"{key}{index}" for index in count())
    for part in [key] if key in item.attrs else takewhile(item.attrs.__contains__, numbered):
        for text in np.ravel(item.attrs[part]):
            yield text.decode() if isinstance(text, bytes) else str(text)


def _follow(group: Any, name: str) -> Any:
    """Return what lies at a path below a group, by plain links only."""
    for part in name.split("/"):
        if part not in group:
            raise Refused(f"has no {one_line(name, 60)!r}, which it lists: save the model again")
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise Refused(
                f"refers to another place or file in {one_line(name, 60)!r}: copy the values in"
            )
        group = group[part]
    return group


def _checked_size(layer: str, dataset: Any, total: int) -> int:
    """Check a dataset before any of it is read, and return how many values it has."""
    if not isinstance(dataset, h5py.Dataset):
        raise Refused(
            f"has a group where layer {one_line(layer, 60)!r} should have an array: save it again"
        )
    if dataset.is_virtual or dataset.external:
        raise Refused(
            f"keeps values of layer {one_line(layer, 60)!r} in another file: copy the values in"
        )
    if dataset.dtype.kind != "f":
        raise not_floating(layer, dataset.dtype)
    size = math.prod(dataset.shape)
    # A compressed chunk is unpacked whole, however little of it the array covers.
    check_values(total + max(size, math.prod(dataset.chunks or ())))
    return size


def _names(layers: list[str]) -> dict[str, str]:
    """Translate the names of layers: by their number and order, if they are counted by class."""
    convs = [layer for layer in layers if re.fullmatch(r"conv2d(_\d+)?", layer)]
    norms = [layer for layer in layers if re.fullmatch(r"batch_normalization(_\d+)?", layer)]
    if len(convs) + len(norms) == len(layers):
        for names in (*map(conv_names, BLOCKS), *map(_densenet, _DENSENET)):
            our_norms = [name for name in names if name.endswith("bn")]
            our_convs = [name for name in names if not name.endswith("bn")]
            if (len(convs), len(norms)) == (len(our_convs), len(our_norms)):
                return dict(zip(convs + norms, our_convs + our_norms, strict=True))
    # VGG's differ; early DenseNets and SqueezeNet have "/" where ours have "_".
    vgg = re.compile(r"^block(\d)_conv(\d)$")
    return {layer: vgg.sub(r"conv\1_\2", layer).replace("/", "_") for layer in layers}


def _densenet(blocks: tuple[int, ...]) -> list[str]:
    """Name the convolutions and normalizations, in order."""
    names = ["conv1_conv", "conv1_bn"]
    for b, depth in enumerate(blocks, 2):
        if b > 2:
            names += [f"pool{b - 1}_bn", f"pool{b - 1}_conv"]
        for i in range(1, depth + 1):
            names += [f"conv{b}_block{i}_{part}" for part in ("0_bn", "1_conv", "1_bn", "2_conv")]
    return [*names, "bn"]

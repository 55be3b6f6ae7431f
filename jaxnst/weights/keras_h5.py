"""Read loss networks from the HDF5 files that Keras writes.

Understood are the official ``*_notop.h5`` files and others of that layout, whole models
(``model.save("x.h5")``) and Keras 3's ``.weights.h5``. The classifier's dense layers are left out.

Early versions of Keras 3 write layers without their names, as ``conv2d``, ``conv2d_1``, ...,
``batch_normalization``, ...: counted by class, in the order of the network. How many there are of
both tells the VGGs and the DenseNets from each other, and a check of shapes from anything else.

The HDF5 library runs in a process of its own: see ``_process.py``.
"""

import os
import re

from jaxnst.weights._files import Parameters
from jaxnst.weights._process import read_layers

FORMAT = "keras-h5"

_SIGNATURE = b"\x89HDF\r\n\x1a\n"

# Simonyan and Zisserman 2015, table 1 (D and E); Huang et al. 2017, table 1.
_VGG = ((2, 2, 3, 3, 3), (2, 2, 4, 4, 4))
_DENSENET = ((6, 12, 24, 16), (6, 12, 32, 32), (6, 12, 48, 32))

# What a layer's arrays are, by their number: a convolution's, or batch normalisation's.
_PARTS = {
    1: ("kernel",),
    2: ("kernel", "bias"),
    4: ("gamma", "beta", "mean", "variance"),
}


def matches(head: bytes) -> bool:
    """Tell HDF5 by its first bytes."""
    return head.startswith(_SIGNATURE)


def read(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Read a Keras HDF5 file; see :func:`jaxnst.weights.read_parameters`.

    Layers that no family of ours has keep their names, so that a check lists them.
    """
    layers = read_layers("hdf5", "the HDF5 library", os.fspath(path))
    names = _names(list(layers))
    params: Parameters = {}
    for layer, values in layers.items():
        parts = _PARTS.get(len(values), tuple(map(str, range(len(values)))))
        for part, value in zip(parts, values, strict=True):
            params[f"{names[layer]}/{part}"] = value
    return params, {"format": FORMAT}


def _names(layers: list[str]) -> dict[str, str]:
    convs = [layer for layer in layers if re.fullmatch(r"conv2d(_\d+)?", layer)]
    norms = [layer for layer in layers if re.fullmatch(r"batch_normalization(_\d+)?", layer)]
    if len(convs) + len(norms) == len(layers):
        for ours in (*map(_vgg, _VGG), *map(_densenet, _DENSENET)):
            our_norms = [name for name in ours if name.endswith("bn")]
            our_convs = [name for name in ours if not name.endswith("bn")]
            if (len(convs), len(norms)) == (len(our_convs), len(our_norms)):
                return dict(zip(convs + norms, our_convs + our_norms, strict=True))
    return {layer: _name(layer) for layer in layers}


def _vgg(blocks: tuple[int, ...]) -> list[str]:
    """Name the convolutions, in order."""
    return [f"conv{b}_{i}" for b, depth in enumerate(blocks, 1) for i in range(1, depth + 1)]


def _densenet(blocks: tuple[int, ...]) -> list[str]:
    """Name the convolutions and normalisations, in order."""
    names = ["conv1_conv", "conv1_bn"]
    for b, depth in enumerate(blocks, 2):
        if b > 2:
            names += [f"pool{b - 1}_bn", f"pool{b - 1}_conv"]
        for i in range(1, depth + 1):
            names += [f"conv{b}_block{i}_{part}" for part in ("0_bn", "1_conv", "1_bn", "2_conv")]
    return [*names, "bn"]


def _name(layer: str) -> str:
    """Translate VGG's names; early DenseNets and SqueezeNet have ``/`` where ours have ``_``."""
    return re.sub(r"^block(\d)_conv(\d)$", r"conv\1_\2", layer).replace("/", "_")

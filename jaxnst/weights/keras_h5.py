"""Read loss networks from the HDF5 files that Keras writes.

Understood are the official ``*_notop.h5`` files and others of that layout, whole models
(``model.save("x.h5")``) and Keras 3's ``.weights.h5``. The classifier's dense layers are left out.

The HDF5 library runs in a process of its own: see ``_process.py``.
"""

import os
import re

from jaxnst.weights._files import Parameters
from jaxnst.weights._process import read_layers

FORMAT = "keras-h5"

_SIGNATURE = b"\x89HDF\r\n\x1a\n"

# Convolutions per block, by their total: early versions of Keras 3 count layers, naming none.
_BLOCKS = {13: (2, 2, 3, 3, 3), 16: (2, 2, 4, 4, 4)}

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
    blocks = _BLOCKS.get(len(layers), ())
    if blocks and all(re.fullmatch(r"conv2d(_\d+)?", layer) for layer in layers):
        ours = [f"conv{b}_{i}" for b, n in enumerate(blocks, 1) for i in range(1, n + 1)]
        return dict(zip(layers, ours, strict=True))
    return {layer: _name(layer) for layer in layers}


def _name(layer: str) -> str:
    """Translate VGG's names; early DenseNets and SqueezeNet have ``/`` where ours have ``_``."""
    return re.sub(r"^block(\d)_conv(\d)$", r"conv\1_\2", layer).replace("/", "_")

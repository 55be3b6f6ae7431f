"""Read loss networks from the HDF5 files that Keras writes.

Understood are the official ``*_notop.h5`` files and others of that layout, whole models
(``model.save("x.h5")``) and Keras 3's ``.weights.h5``. The classifier's dense layers are left out.

The HDF5 library is C code that crashes or never returns on some damaged files: one flipped bit can
be enough. It therefore runs in a process of its own (``_hdf5_process.py``), where that becomes an
error; this also keeps any other harm in a hostile file away from the caller's memory.
"""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jaxnst.weights._files import AGAIN, DAMAGED, Parameters, one_line
from jaxnst.weights._hdf5_process import MARK

FORMAT = "keras-h5"
SECONDS = 60  # a whole VGG19 takes one

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PROGRAM = Path(__file__).with_name("_hdf5_process.py")

# Convolutions per block, by their total: early versions of Keras 3 count layers, naming none.
_BLOCKS = {13: (2, 2, 3, 3, 3), 16: (2, 2, 4, 4, 4)}

# What a layer's arrays are, by their number: a convolution's, or batch normalisation's.
_PARTS = {
    1: ("kernel",),
    2: ("kernel", "bias"),
    4: ("gamma", "beta", "mean", "variance"),
}

Layers = dict[str, list[NDArray[np.float32]]]


def matches(head: bytes) -> bool:
    """Tell HDF5 by its first bytes."""
    return head.startswith(_SIGNATURE)


def read(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Read a Keras HDF5 file; see :func:`jaxnst.weights.read_parameters`.

    Layers that no family of ours has keep their names, so that a check lists them.
    """
    layers = _layers(os.fspath(path))
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


def _layers(path: str) -> Layers:
    done = _run(path)
    _, mark, answer = done.stdout.partition(MARK)
    if done.returncode or not mark:
        raise ValueError(f"{path} {DAMAGED} (the HDF5 library failed on it): {AGAIN}")
    line, _, values = answer.partition(b"\n")
    found = json.loads(line)
    if "error" in found:
        raise ValueError(f"{path} {one_line(found['error'], 300)}")
    layers: Layers = {}
    start = 0
    for name, shapes in found["layers"]:
        layers[one_line(name, 80)] = arrays = []
        for shape in shapes:
            count = math.prod(shape)
            flat = np.frombuffer(values, "<f4", count, start)
            arrays.append(flat.astype(np.float32).reshape(shape))
            start += 4 * count
    return layers


def _run(path: str) -> subprocess.CompletedProcess[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # the same libraries as here
        "HDF5_PLUGIN_PRELOAD": "::",  # no filter is loaded, whatever the file asks for
        "OPENBLAS_NUM_THREADS": "1",  # their stacks would count against the memory limit
    }
    try:
        return subprocess.run(
            [sys.executable, "-P", str(_PROGRAM), os.path.abspath(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{path} {DAMAGED} (not read after {SECONDS} s): {AGAIN}") from None

"""Read MatConvNet's ``.mat`` files, such as ``imagenet-vgg-verydeep-19.mat``.

Both generations are understood: in the older a convolution has ``filters`` and ``biases`` and the
file a ``normalization``; in the newer it has ``weights``, a cell of both, and the file a ``meta``.
A whole network in a variable ``net`` will do too. Classifiers are left out.

The arrays are HWIO and RGB as they are read: MatConvNet's ``utils/import-caffe.py``, which made the
official files, exchanges Caffe's axes and BGR. Programs that exchange the first two axes again
mirror every filter at its diagonal. This was never tried with the real file.

Call it through ``_child.py``: SciPy's reader crashes or hangs on some damaged files.
"""

import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import scipy.io.matlab

from jaxnst.weights._files import (
    Parameters,
    Refused,
    as_float32,
    check_size,
    check_values,
    one_line,
)

_GIVE = "give a file of a MatConvNet SimpleNN network"
_HEADER = 128
_COMPRESSED = 15
_OLD_NAMES = ("filters", "biases")


def read(path: str) -> tuple[Parameters, dict[str, str]]:
    """Read the convolutions of a network.

    Raises:
      Refused: If it holds no network of MatConvNet's, or too many or other values.
      Exception: Of several kinds, if it is damaged.
    """
    with open(path, "rb") as file:
        _check_sizes(file)
        # In the types of MATLAB's arrays, not those that their values happened to fit in.
        content = scipy.io.matlab.loadmat(file, variable_names=("layers", "net"), mat_dtype=True)
    params: Parameters = {}
    total = 0
    for name, values in _convolutions(content):
        key = f"{name}/"
        if key + "kernel" in params:
            raise Refused(f"has two layers {name!r}: {_GIVE}")
        total += sum(value.size for value in values)
        check_values(total)
        for part, value in zip(("kernel", "bias"), values, strict=False):
            params[key + part] = as_float32(value)
    if not params:
        raise Refused(f"has no convolutions: {_GIVE}")
    return params, {"format": "matconvnet", "preprocessing": "matconvnet"}


def _check_sizes(file: BinaryIO) -> None:
    """Refuse a file that would be too large once it is unpacked."""
    order: Any = "little" if file.read(_HEADER).endswith(b"IM") else "big"

    def tag(data: bytes) -> tuple[int, int]:
        """Return the kind of an element and how many bytes follow."""
        return int.from_bytes(data[:4], order), int.from_bytes(data[4:8], order)

    total = 0
    while len(data := file.read(8)) == 8:
        kind, size = tag(data)
        end = file.tell() + size
        if kind == _COMPRESSED:
            data = zlib.decompressobj().decompress(file.read(min(size, 4096)), 8)
        total += tag(data)[1]
        file.seek(end)
    file.seek(0)
    check_size(total, "unpacks to")


def _convolutions(content: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield the name, the kernel and the bias of each convolution, if it has one."""
    network = content if "layers" in content else _fields(content.get("net"))
    layers = np.ravel(network.get("layers", ()))
    if layers.dtype != object or not all(_fields(layer) for layer in layers):
        raise Refused(f"has no list of layers: {_GIVE}")
    for layer in map(_fields, layers):
        name = one_line(_text(layer.get("name", ())), 80)
        if _text(layer.get("type", ())) == "conv" and not name.startswith("fc"):
            yield name, _arrays(name, layer)


def _arrays(name: str, layer: dict[str, Any]) -> list[Any]:
    values = np.ravel(layer["weights"]) if "weights" in layer else map(layer.get, _OLD_NAMES)
    pair: list[Any] = [*values, None, None][:2]
    kernel, bias = np.asarray(pair[0]), np.ravel(pair[1])
    for array in (kernel, bias):
        if array.dtype.kind != "f" or array.ndim > 4:
            raise Refused(
                f"has no floating point numbers of up to 4 axes in layer {name!r}: {_GIVE}"
            )
    kernel = kernel.reshape(kernel.shape + (1,) * (4 - kernel.ndim))  # MATLAB drops the last if 1
    return [kernel, bias] if bias.size else [kernel]


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a structure; of anything else, none."""
    values = np.ravel(value)
    names = values.dtype.names if values.size else None
    return {name: values[0][name] for name in names or ()}


def _text(value: Any) -> str:
    return "".join(map(str, np.ravel(value)[:80]))

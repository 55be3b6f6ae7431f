"""Read MatConvNet's ``.mat`` files, such as ``imagenet-vgg-verydeep-19.mat``, through SciPy.

Both generations are understood: in the older a convolution has ``filters`` and ``biases`` and the
file a ``normalization``; in the newer it has ``weights``, a cell of both, and the file a ``meta``.
Classifiers are left out.

Order of the axes: MatConvNet's manual (section 4.1, vl_nnconv) gives an image as height x width x
channels and a bank of filters as height x width x channels x outputs, and MATLAB's first index is
the row. SciPy keeps the order of the indices. So the arrays are HWIO as they are read, and are
taken so. Some programs exchange the first two axes as they read these files, which mirrors every
filter at its diagonal; whoever finds that the real file, which was not at hand, needs it can tell
by one look at its conv1_1 beside another copy of the same network.
"""

import os
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from jaxnst.weights._files import AGAIN, DAMAGED, MAX_BYTES, Parameters, one_line, open_weights

FORMAT = "matconvnet"

_HEADER = 128
_COMPRESSED = 15
MAX_LAYERS = 256


class _Refused(ValueError):
    """What is wrong, and what to do; follows the file's name."""


def matches(head: bytes) -> bool:
    """Tell MATLAB files of version 5 (to 7.2) by their first bytes."""
    return head.startswith(b"MATLAB 5.0")


def read(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Read a file; see :func:`jaxnst.weights.read_parameters`."""
    import scipy.io

    name = os.fspath(path)
    params: Parameters = {}
    with open_weights(path) as file:
        try:
            _check_sizes(file)
            found = scipy.io.loadmat(file, variable_names=("layers",))
            for layer, kernel, bias in _convolutions(found):
                params[f"{layer}/kernel"], params[f"{layer}/bias"] = kernel, bias
        except _Refused as error:
            raise ValueError(f"{name} {error}") from None
        except Exception as error:  # whatever the library makes of a damaged file
            raise ValueError(f"{name} {DAMAGED} ({one_line(str(error), 120)}): {AGAIN}") from None
    return params, {"format": FORMAT, "preprocessing": "matconvnet"}


def _check_sizes(file: BinaryIO) -> None:
    """Refuse a file that is too large, or would be once it is unpacked."""
    if os.fstat(file.fileno()).st_size > MAX_BYTES:
        raise _Refused(f"has more than {MAX_BYTES} bytes: give a file that holds one loss network")
    total = 0
    file.seek(_HEADER)
    while len(tag := file.read(8)) == 8:
        kind, size = (int.from_bytes(tag[i : i + 4], "little") for i in (0, 4))
        begin = file.tell()
        if kind == _COMPRESSED:
            inner = zlib.decompressobj().decompress(file.read(min(size, 4096)), 8)
            total += int.from_bytes(inner[4:8], "little")
        else:
            total += size
        file.seek(begin + size)
    file.seek(0)
    if total > MAX_BYTES:
        raise _Refused(f"unpacks to {total} bytes, expected at most {MAX_BYTES}: {AGAIN}")


def _convolutions(
    found: dict[str, Any],
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    layers = np.ravel(found.get("layers", ()))
    if not 0 < len(layers) <= MAX_LAYERS or layers.dtype != object:
        raise _Refused("has no list of layers: give a file of a MatConvNet SimpleNN network")
    for layer in layers:
        record = np.ravel(layer)[0]
        fields = record.dtype.names or ()
        if "type" not in fields or _text(record["type"]) != "conv":
            continue
        name = one_line(_text(record["name"]), 60)
        if name.startswith("fc"):
            continue
        if "weights" in fields:
            kernel, bias = np.ravel(record["weights"])[:2]
        else:
            kernel, bias = record["filters"], record["biases"]
        if kernel.dtype.kind != "f" or kernel.ndim not in (2, 3, 4):
            raise _Refused(f"has no filters of numbers in {name}: {AGAIN}")
        # MATLAB drops axes of one at the end.
        kernel = kernel.reshape(kernel.shape + (1,) * (4 - kernel.ndim))
        with np.errstate(all="ignore"):
            yield (
                name,
                np.ascontiguousarray(kernel).astype(np.float32),
                np.ravel(bias).astype(np.float32),
            )


def _text(value: Any) -> str:
    return "".join(str(part) for part in np.ravel(value))

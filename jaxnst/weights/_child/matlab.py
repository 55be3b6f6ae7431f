"""Read the convolutions of a MatConvNet file, as a program of its own: see matconvnet.py.

SciPy is imported only when it runs.
"""

import sys
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from . import MAX_VALUES, Layers, Refused, answer, quote

MAX_LAYERS = 4096  # a whole VGG19 has 43
MAX_BYTES = 2**30  # a whole VGG19 has half of that

_GIVE = "give a file of a MatConvNet SimpleNN network"
_HEADER = 128
_COMPRESSED = 15


def read_layers(path: str) -> Layers:
    """Yield (name, float32 kernel and bias) of each convolution."""
    import numpy as np

    budget, seen = MAX_VALUES, set()
    for name, values in _convolutions(_load(path)):
        if name in seen:
            raise Refused(f"has two layers {quote(name)}: {_GIVE}")
        seen.add(name)
        budget -= sum(value.size for value in values)
        if budget < 0:
            raise Refused(f"has more values than any loss network needs: {_GIVE}")
        # Whatever does not fit in float32 becomes infinite, and check_parameters reports it.
        with np.errstate(all="ignore"):
            yield name, [np.ascontiguousarray(value, "<f4") for value in values]
    if not seen:
        raise Refused(f"has no convolutions: {_GIVE}")


def _load(path: str) -> dict[str, Any]:
    import scipy.io.matlab

    with open(path, "rb") as file:
        _check_sizes(file)
        # In the types of MATLAB's arrays, not those that their values happened to fit in.
        return scipy.io.matlab.loadmat(file, variable_names=("layers", "net"), mat_dtype=True)


def _check_sizes(file: BinaryIO) -> None:
    """Refuse a file that would be too large once it is unpacked."""
    header = file.read(_HEADER)
    order = "little" if header.endswith(b"IM") else "big"
    total = 0
    while len(tag := file.read(8)) == 8:
        begin = file.tell()
        kind, size = _tag(tag, order)
        if kind == _COMPRESSED:
            inner = zlib.decompressobj().decompress(file.read(min(size, 4096)), 8)
            total += _tag(inner, order)[1]
        else:
            total += size
        file.seek(begin + size)
    file.seek(0)
    if total > MAX_BYTES:
        raise Refused(f"unpacks to {total} bytes, expected at most {MAX_BYTES}: {_GIVE}")


def _tag(data: bytes, order: Any) -> tuple[int, int]:
    """Return the kind of an element and how many bytes follow."""
    return int.from_bytes(data[:4], order), int.from_bytes(data[4:8], order)


def _convolutions(found: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    import numpy as np

    content = found if "layers" in found else _fields(found.get("net"))
    layers = np.ravel(content.get("layers", ()))
    if layers.dtype != object or not all(_fields(layer) for layer in layers):
        raise Refused(f"has no list of layers: {_GIVE}")
    if layers.size > MAX_LAYERS:
        raise Refused(f"has {layers.size} layers, expected at most {MAX_LAYERS}: {_GIVE}")
    for layer in map(_fields, layers):
        name = _text(layer.get("name", ()))
        if _text(layer.get("type", ())) == "conv" and not name.startswith("fc"):
            yield name, list(_arrays(name, layer))


def _arrays(name: str, layer: dict[str, Any]) -> Iterator[Any]:
    """Yield a convolution's kernel, and its bias if it has one."""
    import numpy as np

    if "weights" in layer:
        found = [*np.ravel(layer["weights"])[:2], None, None]
    else:
        found = [layer.get("filters"), layer.get("biases")]
    kernel, bias = np.asarray(found[0]), np.ravel(found[1])
    for values in (kernel, bias):
        if values.dtype.kind != "f" or values.ndim > 4:
            raise Refused(
                f"has no floating point numbers of up to 4 axes in layer {quote(name)}: {_GIVE}"
            )
    yield kernel.reshape(kernel.shape + (1,) * (4 - kernel.ndim))  # MATLAB drops the last if 1
    if bias.size:
        yield bias


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a structure; of anything else, none."""
    import numpy as np

    values = np.ravel(value)
    names = values.dtype.names if values.size else None
    return {name: values[0][name] for name in names or ()}


def _text(value: Any) -> str:
    import numpy as np

    return "".join(map(str, np.ravel(value)[:80]))


def load() -> None:
    """Import what reads, before memory is limited."""
    import scipy.io.matlab  # noqa: F401


def main(path: str) -> None:
    """Answer for one file on standard output."""
    load()
    answer(read_layers, path)


if __name__ == "__main__":
    main(sys.argv[1])

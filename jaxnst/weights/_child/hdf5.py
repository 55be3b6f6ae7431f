"""Read the layers of a Keras HDF5 file, as a program of its own: see keras_h5.py.

``h5py`` is imported only when it runs.
"""

import math
import sys
from collections.abc import Iterator
from itertools import count, takewhile
from typing import Any

from . import MAX_VALUES, Layers, Refused, answer, quote

# Far above what a loss network needs: VGG19 has 16 convolutions, DenseNet201 401 layers.
MAX_LAYERS = 4096
MAX_ARRAYS = 16

# The classifier on top: large, and of no use here.
_TOP = {"fc1", "fc2", "fc1000", "predictions"}


def read_layers(path: str) -> Layers:
    """Yield (name, float32 arrays in Keras' order) of each layer that has any."""
    import h5py

    budget = MAX_VALUES
    with h5py.File(path, "r", locking=False) as file:
        for name, datasets in _find(file):
            values = []
            for dataset in datasets:
                budget -= _count(name, dataset, budget)
                values.append(_values(dataset))
            if values:
                yield name, values
    if budget == MAX_VALUES:
        raise Refused("holds no weights: save the model after it was built")


def _find(file: Any) -> Iterator[tuple[str, list[Any]]]:
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
    for name in _texts(root, "layer_names", MAX_LAYERS):
        if name in seen:
            raise Refused(f"lists layer {quote(name)} twice: save the model again")
        seen.add(name)
        if name not in _TOP:
            layer = _follow(root, name)
            # The order counts: Keras itself reads by it and not by what the weights are called.
            weights = list(_texts(layer, "weight_names", MAX_ARRAYS))
            yield name, [_follow(layer, weight) for weight in weights]


def _new_layout(layers: Any) -> Iterator[tuple[str, list[Any]]]:
    """Keras 3, ``.weights.h5``: groups by class and counter, the layer's name in an attribute."""
    if len(layers) > MAX_LAYERS:
        raise Refused(
            f"has {len(layers)} layers, expected at most {MAX_LAYERS}: give a loss network"
        )
    for key in sorted(layers, key=_counter):
        layer = _follow(layers, key)
        if "vars" not in layer:
            continue
        arrays = _follow(layer, "vars")
        if len(arrays) > MAX_ARRAYS:
            raise Refused(f"has {len(arrays)} arrays in layer {quote(key)}: give a loss network")
        name = str(arrays.attrs.get("name", key))
        if name not in _TOP and _counter(name)[0] != "dense":
            yield name, [_follow(arrays, str(index)) for index in range(len(arrays))]


def _counter(key: str) -> tuple[str, int]:
    """Sort conv2d_10 behind conv2d_9."""
    name, _, number = key.rpartition("_")
    return (name, int(number)) if name and number.isdecimal() else (key, 0)


def _texts(item: Any, key: str, most: int) -> Iterator[str]:
    """Read a list of names from an attribute; Keras splits long ones over key0, key1, ..."""
    import numpy as np

    keys = [key] if key in item.attrs else takewhile(item.attrs.__contains__, _numbered(key))
    total = 0
    for part in keys:
        total += math.prod(item.attrs.get_id(part).shape)
        if total > most:
            raise Refused(f"lists {total} {key}, expected at most {most}: give a loss network")
        for text in np.ravel(item.attrs[part]):
            yield text.decode() if isinstance(text, bytes) else str(text)


def _numbered(key: str) -> Iterator[str]:
    return (f"{key}{index}" for index in count())


def _follow(group: Any, name: str) -> Any:
    """Return what lies at a path below a group, by plain links only."""
    import h5py

    for part in name.split("/"):
        if part not in group:
            raise Refused(f"has no {quote(name)}, which it lists: save the model again")
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise Refused(f"refers to another place or file in {quote(name)}: copy the values in")
        group = group[part]
    return group


def _count(layer: str, dataset: Any, budget: int) -> int:
    """Check a dataset before anything of it is read, and return how many values it has."""
    import h5py

    if not isinstance(dataset, h5py.Dataset):
        raise Refused(f"has a group where layer {quote(layer)} should have an array: save it again")
    if dataset.is_virtual or dataset.external:
        raise Refused(f"keeps values of layer {quote(layer)} in another file: copy the values in")
    if dataset.dtype.kind != "f":
        raise Refused(
            f"has {str(dataset.dtype)[:40]} values in layer {quote(layer)}, "
            "expected floating point numbers: save the model in float32"
        )
    # A compressed chunk is unpacked whole, however little of it the array covers.
    if max(math.prod(dataset.shape), math.prod(dataset.chunks or ())) > budget:
        raise Refused(
            f"has an array of shape {str(dataset.shape)[:60]} in layer {quote(layer)}, "
            "which is more than any loss network needs: give a loss network"
        )
    return math.prod(dataset.shape)


def _values(dataset: Any) -> Any:
    import numpy as np

    # Whatever does not fit in float32 becomes infinite, and check_parameters reports it.
    with np.errstate(all="ignore"):
        return np.asarray(dataset[()], "<f4")


def load() -> None:
    """Import what reads, before memory is limited."""
    import h5py  # noqa: F401


def main(path: str) -> None:
    """Answer for one file on standard output."""
    load()
    answer(read_layers, path)


if __name__ == "__main__":
    main(sys.argv[1])

"""One digest for whatever is made of arrays: pictures, parameters, checkpoints."""

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike


def digest_of(arrays: Mapping[str, ArrayLike]) -> str:
    """Return the SHA-256, in hexadecimal, of names, types, shapes and values, in whatever order.

    Example:
      >>> digest_of({"a": [1.0], "b": [2.0]}) == digest_of({"b": [2.0], "a": [1.0]})
      True
    """
    found = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        array = np.ascontiguousarray(values)
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(array.data)
    return found.hexdigest()

"""The native format: safetensors, with jaxnst's flat names and a few words of metadata.

Stored as any floating point type (float16 as a rule), read as float32. Metadata: ``format``
(``jaxnst-1``), ``network``, and ``preprocessing`` where it is not the network's own.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
from numpy.typing import NDArray

from jaxnst._files import replace_file
from jaxnst.weights import state_dict
from jaxnst.weights._files import (
    MAX_BYTES,
    Parameters,
    Refused,
    as_float32,
    check_size,
    not_floating,
    one_line,
)

FORMAT = "jaxnst-1"

_TYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
}


def read(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Read a safetensors file, with names of whatever origin: arrays and metadata.

    Raises:
      Refused: If it is too large, of a newer version, or holds other than floating point numbers.
      Exception: Of several kinds, if it is damaged.
    """
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    check_size(len(data))
    params, metadata = parse(data)
    version = metadata.get("format", FORMAT)
    if version.startswith("jaxnst-") and version != FORMAT:
        raise Refused(
            f"has format {one_line(version, 20)}, expected {FORMAT}: install the newest jaxnst"
        )
    return params, metadata


def parse(data: bytes) -> tuple[Parameters, dict[str, str]]:
    """Return the arrays and metadata of a file's bytes, in the order of its header."""
    tensors = dict(safetensors.deserialize(data))
    # The library keeps neither the order nor the metadata.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = header.pop("__metadata__", None) or {}
    params: Parameters = {}
    for key in header:
        name, kind = one_line(key), tensors[key]["dtype"]
        if kind not in _TYPES:
            if state_dict.matches(header):  # PyTorch's counters of batches, which nothing needs
                continue
            raise not_floating(key, kind)
        values = as_float32(np.frombuffer(tensors[key]["data"], _TYPES[kind]))
        params[name] = values.reshape(tensors[key]["shape"])
    return params, {str(key): str(value) for key, value in metadata.items()}


def write_parameters(
    path: str | os.PathLike[str],
    params: Mapping[str, NDArray[Any]],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write parameters as safetensors, at once or not at all.

    Values keep their type: convert them to float16 before, to halve the file. The same
    parameters and metadata always give the same bytes.

    Args:
      path: File to write or to replace.
      params: Floating point arrays by flat name.
      metadata: Words about them; ``format`` is added.

    Raises:
      FileNotFoundError: If the folder does not exist.
      TypeError: If an array is not of a floating point type.
      ValueError: If there is no array, or a value is not finite.
      OSError: If the file cannot be written.
    """
    if not params:
        raise ValueError("there are no parameters to write")
    for key, values in params.items():
        if values.dtype.newbyteorder("=") not in _TYPES.values():
            kinds = ", ".join(str(np.dtype(kind)) for kind in _TYPES.values())
            raise TypeError(f"{key} is {values.dtype}, expected one of {kinds}")
        if not np.isfinite(values).all():
            raise ValueError(f"{key} holds values that are not finite: train or convert it again")
    replace_file(path, serialize(params, {"format": FORMAT, **(metadata or {})}))


def serialize(params: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a safetensors file."""
    # By hand, because the library writes metadata in random order, and a digest must follow from
    # the content; the tests read it back with the library.
    names = {np.dtype(kind): name for name, kind in _TYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    parts, end = [], 0
    for key, values in params.items():
        native = values.dtype.newbyteorder("=")
        parts.append(np.ascontiguousarray(values, native.newbyteorder("<")).tobytes())
        start, end = end, end + len(parts[-1])
        offsets = {"data_offsets": [start, end]}
        header[key] = {"dtype": names[native], "shape": list(values.shape), **offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])

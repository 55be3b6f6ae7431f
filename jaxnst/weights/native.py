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
from jaxnst.weights._files import AGAIN, DAMAGED, MAX_BYTES, Parameters, one_line, open_weights

FORMAT = "jaxnst-1"

_TYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
}


def matches(head: bytes) -> bool:
    """Tell safetensors by its first bytes: a length in eight bytes, then a JSON object."""
    return head[8:9] == b"{"


def read(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Read a safetensors file; see :func:`jaxnst.weights.read_parameters`."""
    name = os.fspath(path)
    with open_weights(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise ValueError(
                f"{name} has {size} bytes, expected at most {MAX_BYTES}: "
                "give a file that holds one loss network"
            )
        data = file.read(MAX_BYTES)
    try:
        found = dict(safetensors.deserialize(data))
        names, metadata = _header(data)
        tensors = {key: found[key] for key in names}
    except Exception as error:  # the library promises no particular kinds
        raise ValueError(
            f"{name} {DAMAGED}, or is not a safetensors file ({one_line(str(error))}): {AGAIN}"
        ) from None
    version = metadata.get("format", FORMAT)
    if version.startswith("jaxnst-") and version != FORMAT:
        raise ValueError(
            f"{name} has format {one_line(version, 20)}, expected {FORMAT}: "
            "install the newest jaxnst"
        )
    if state_dict.matches(tensors):  # counters of batches, which are integers, say nothing
        tensors = {key: value for key, value in tensors.items() if value["dtype"] in _TYPES}
    arrays = {one_line(key): _array(name, key, value) for key, value in tensors.items()}
    if state_dict.matches(arrays):  # a state dict, saved as safetensors
        arrays, said = state_dict.convert(arrays)
        metadata = said | metadata
    return arrays, metadata


def _header(data: bytes) -> tuple[list[str], dict[str, str]]:
    """Return names in the file's order, which the library does not keep, and the metadata."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", None) or {}
    return list(header), {str(key): str(value) for key, value in metadata.items()}


def _array(file: str, key: str, tensor: dict[str, Any]) -> NDArray[np.float32]:
    kind = _TYPES.get(tensor["dtype"])
    if kind is None:
        raise ValueError(
            f"{file} stores {one_line(key, 60)} as {tensor['dtype']}, "
            "expected floating point numbers: give a file of a loss network"
        )
    # Whatever does not fit in float32 becomes infinite, and check_parameters reports it.
    with np.errstate(all="ignore"):
        values = np.frombuffer(tensor["data"], kind).astype(np.float32)
    try:
        return values.reshape(tensor["shape"])
    except ValueError as error:  # no values, but a side beyond what NumPy counts
        raise ValueError(
            f"{file} {DAMAGED} ({one_line(key, 60)}: {one_line(str(error))}): {AGAIN}"
        ) from None


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
    replace_file(path, _serialize(params, {"format": FORMAT, **(metadata or {})}))


def _serialize(params: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    # By hand, because the library writes metadata in random order, and a digest must follow from
    # the content; the tests read it back with the library.
    names = {np.dtype(kind): name for name, kind in _TYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    parts, start = [], 0
    for key, values in params.items():
        native = values.dtype.newbyteorder("=")
        if native not in names:
            raise TypeError(
                f"{key} is {values.dtype}, expected one of {', '.join(map(str, names))}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{key} holds values that are not finite: train or convert it again")
        part = np.ascontiguousarray(values, native.newbyteorder("<")).tobytes()
        offsets = [start, start + len(part)]
        header[key] = {
            "dtype": names[native],
            "shape": list(values.shape),
            "data_offsets": offsets,
        }
        parts.append(part)
        start = offsets[1]
    if not parts:
        raise ValueError("there are no parameters to write")
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])

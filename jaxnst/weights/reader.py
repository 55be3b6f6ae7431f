"""Read any parameter file, and compare it with a network. The content tells the format."""

import errno
import io
import os
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from jaxnst._files import check_source
from jaxnst.weights import native, state_dict, torch_file
from jaxnst.weights._child import read_isolated
from jaxnst.weights._files import (
    AGAIN,
    DAMAGED,
    Parameters,
    Refused,
    as_float32,
    check_size,
    error_line,
    not_floating,
    one_line,
)

_EXPECTED = "expected safetensors, Keras HDF5, NumPy .npz, MatConvNet .mat or a PyTorch state dict"

# Files that people are likely to try, with what to do instead.
_FOREIGN = (
    (b"MATLAB 7", "is a MATLAB file of version 7.3 (save it with -v7)"),
    (b"version https://git-lfs", "is a Git LFS pointer instead of the file it stands for"),
    (b"<", "is a web page instead of the file it led to"),
    (b"", f"{DAMAGED}, or of an unknown format"),
)

_LISTED = 6
"""Most names that a message lists."""


def read_parameters(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Read the parameters of a network from a file of any known format.

    Args:
      path: A safetensors file or ``.npz`` archive with jaxnst's names, a Keras HDF5 file, a
        MatConvNet ``.mat`` file, or a PyTorch state dict (``.pth``, or safetensors with PyTorch's
        names).

    Returns:
      Float32 arrays by flat name, and the file's metadata: ``format``, and where known
      ``network``, ``preprocessing`` and ``epsilon``. A preprocessing ``unsaid`` means that files
      of this form were trained with different ones.

    Raises:
      FileNotFoundError: If there is no such file.
      IsADirectoryError: If it is a folder.
      ValueError: If the file is of another format, cut short or damaged, in one line.
      OSError: If the file cannot be read.
    """
    check_source(path)
    with open(path, "rb") as file:
        head = file.read(32)
    try:
        params, metadata = _read(path, head)
        if state_dict.matches(params):
            params, facts = state_dict.convert(params)
            metadata = facts | metadata
    except MemoryError:
        raise
    except Exception as error:
        # An invalid argument is an offset that a damaged file states.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(f"{os.fspath(path)} {error_line(error)}") from None
    return params, metadata


def _read(path: str | os.PathLike[str], head: bytes) -> tuple[Parameters, dict[str, str]]:
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_isolated("keras_h5", path)
    if head.startswith(b"MATLAB 5.0"):  # to 7.2
        return read_isolated("matconvnet", path)
    if head.startswith(b"PK\x03\x04"):
        return _read_archive(path)
    if head[8:9] == b"{":  # behind a length in eight bytes, which may begin as a pickle does
        return native.read(path)
    if head.startswith(b"\x80\x02"):  # the older of PyTorch's forms
        return torch_file.read(path)
    raise Refused(
        next(f"{what}: {_EXPECTED}" for start, what in _FOREIGN if head.startswith(start))
    )


def _read_archive(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Read NumPy's ``.npz`` (jaxnst's names, kernels as HWIO) or the newer form of PyTorch's."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        check_size(sum(entry.file_size for entry in entries), "unpacks to")
        names = [entry.filename for entry in entries]
        if names and all(name.endswith(".npy") for name in names):
            keys = (one_line(name.removesuffix(".npy"), 80) for name in names)
            arrays = zip(keys, map(archive.read, entries), strict=True)
            return {key: _array(key, data) for key, data in arrays}, {"format": "npz"}
    if any(name.endswith("/data.pkl") for name in names):
        return torch_file.read(path)
    raise Refused(
        f"is a ZIP archive of {one_line(', '.join(names[:2]), 60)}...: "
        f"{_EXPECTED} (of a .keras file, save the weights as .weights.h5)"
    )


def _array(key: str, data: bytes) -> NDArray[np.float32]:
    """Read one ``.npy``, without pickles; the shape in its header takes no memory."""
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, kind = read_header(stream)
    if kind.kind != "f":
        raise not_floating(key, kind)
    values = np.frombuffer(data, kind, offset=stream.tell())
    return as_float32(values.reshape(shape, order="F" if fortran else "C"))


def check_parameters(
    params: Mapping[str, NDArray[Any]],
    expected: Mapping[str, tuple[int, ...]],
    source: str | os.PathLike[str],
    *,
    prefix_ok: bool = True,
) -> tuple[str, ...]:
    """Check names, shapes and values, and return which layers there are.

    Args:
      params: Arrays by flat name, as read from a file.
      expected: Shapes by flat name, from the shallowest layer to the deepest.
      source: Where ``params`` came from, for the message.
      prefix_ok: Whether the file may end at a whole layer, leaving out all deeper ones.

    Returns:
      The names of the layers present (``conv1_1``, ...), from the shallowest to the deepest.

    Raises:
      ValueError: If a parameter is missing, unexpected, of a wrong shape or not finite: one line
        that lists the names.
    """
    layers = list(dict.fromkeys(map(_layer, expected)))
    in_file = set(map(_layer, params))
    present = tuple(layer for layer in layers if layer in in_file)
    last = layers.index(present[-1]) if present and prefix_ok else len(layers) - 1
    needed = set(layers[: last + 1])
    known = [name for name in expected if name in params]
    wrong = [name for name in known if params[name].shape != expected[name]]
    problems = {
        "missing": [n for n in expected if _layer(n) in needed and n not in params],
        "unexpected": [n for n in params if n not in expected],
        "wrong shape": [f"{n} {params[n].shape} instead of {expected[n]}" for n in wrong],
        "not finite": [n for n in known if not np.isfinite(params[n]).all()],
    }
    problems = {what: names for what, names in problems.items() if names}
    if problems:
        text = "; ".join(f"{what} {_listing(names)}" for what, names in problems.items())
        other_network = set(problems) != {"not finite"}
        advice = "give the file that was made for this network" if other_network else AGAIN
        raise ValueError(f"{os.fspath(source)} does not fit the network: {text}: {advice}")
    return present


def _layer(name: str) -> str:
    return name.rpartition("/")[0]


def _listing(names: Iterable[str]) -> str:
    names = [one_line(name, 80) for name in names]
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" ... and {rest} more" if rest > 0 else "")

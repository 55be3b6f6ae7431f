"""Read NumPy's ``.npz`` archives: arrays by jaxnst's own names, kernels as HWIO. No pickles."""

import io
import math
import os
import zipfile

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from jaxnst.weights._files import AGAIN, DAMAGED, Parameters, one_line

FORMAT = "npz"


class _Refused(ValueError):
    """What is wrong, and what to do; follows the file's name."""


def matches(names: list[str]) -> bool:
    """Tell by what is in the archive: nothing but ``.npy`` files."""
    return bool(names) and all(name.endswith(".npy") for name in names)


def read(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Read an archive; see :func:`jaxnst.weights.read_parameters`."""
    name = os.fspath(path)
    params: Parameters = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                key = one_line(entry.filename.removesuffix(".npy"), 80)
                params[key] = _array(key, archive.read(entry))
    except _Refused as error:
        raise ValueError(f"{name} {error}") from None
    except Exception as error:  # the libraries promise no particular kinds
        raise ValueError(f"{name} {DAMAGED} ({one_line(str(error))}): {AGAIN}") from None
    return params, {"format": FORMAT}


def _array(key: str, data: bytes) -> NDArray[np.float32]:
    """Read one array; nothing of the size that its header claims is made before it is checked."""
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, kind = read_header(stream)
    if kind.kind != "f":
        raise _Refused(
            f"stores {key} as {one_line(str(kind), 40)}, expected floating point numbers: "
            "give a file of a loss network"
        )
    count = math.prod(shape)
    if count * kind.itemsize != len(data) - stream.tell():
        raise _Refused(f"{DAMAGED} ({key} is not of its own length): {AGAIN}")
    values = np.frombuffer(data, kind, count, stream.tell())
    values = values.reshape(shape, order="F" if fortran else "C")
    # Whatever does not fit in float32 becomes infinite, and check_parameters reports it.
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(values).astype(np.float32)

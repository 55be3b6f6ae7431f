"""Read any parameter file: the format is told by the first bytes, never by the name's ending."""

import os

from jaxnst.weights import keras_h5, native
from jaxnst.weights._files import Parameters, open_weights

# Files that people are likely to try, with what to do instead.
_FOREIGN = (
    (b"PK\x03\x04", "a ZIP archive (as .npz, .keras and .pth files are)"),
    (b"\x80\x02", "a Python pickle (as old .pth files are)"),
    (b"MATLAB", "a MATLAB file"),
    (b"version https://git-lfs", "a Git LFS pointer instead of the file it stands for"),
    (b"<", "a web page instead of the file it led to"),
)


def read_parameters(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Read the parameters of a network from a file of any known format.

    Args:
      path: A safetensors file with jaxnst's names, or a Keras HDF5 file of VGG16 or VGG19.

    Returns:
      Float32 arrays by flat name, and what the file says of itself: ``format``, and where known
      ``network`` and ``preprocessing``.

    Raises:
      FileNotFoundError: If there is no such file.
      IsADirectoryError: If it is a folder.
      ValueError: If the file is of another format, cut short or damaged, in one line.
      OSError: If the file cannot be read.
    """
    with open_weights(path) as file:
        head = file.read(32)
    if keras_h5.matches(head):
        return keras_h5.read(path)
    if not native.matches(head):
        for start, what in _FOREIGN:
            if head.startswith(start):
                raise ValueError(
                    f"{os.fspath(path)} is {what}: expected safetensors or a Keras HDF5 file"
                )
    return native.read(path)

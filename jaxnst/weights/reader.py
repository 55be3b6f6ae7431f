"""Read any parameter file: the format is told by its content, never by the name's ending."""

import os
import zipfile

from jaxnst.weights import keras_h5, matconvnet, native, npz, torch_file
from jaxnst.weights._files import AGAIN, DAMAGED, MAX_BYTES, Parameters, one_line, open_weights

_ZIP = b"PK\x03\x04"

# Files that people are likely to try, with what to do instead.
_FOREIGN = (
    (b"MATLAB 7", "a MATLAB file of version 7.3 (save it with -v7)"),
    (b"version https://git-lfs", "a Git LFS pointer instead of the file it stands for"),
    (b"<", "a web page instead of the file it led to"),
)
_EXPECTED = "expected safetensors, Keras HDF5, NumPy .npz, MatConvNet .mat or a PyTorch state dict"


def read_parameters(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Read the parameters of a network from a file of any known format.

    Args:
      path: A safetensors file or ``.npz`` archive with jaxnst's names, a Keras HDF5 file, a
        MatConvNet ``.mat`` file, or a PyTorch state dict (``.pth``, or safetensors with PyTorch's
        names).

    Returns:
      Float32 arrays by flat name, and what the file says of itself: ``format``, and where known
      ``network``, ``preprocessing`` and ``epsilon``. A preprocessing ``unsaid`` means that files
      of this form were trained with different ones.

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
    if head.startswith(_ZIP):
        return _read_archive(path)
    if matconvnet.matches(head):
        return matconvnet.read(path)
    # A safetensors header of 640 bytes begins as a pickle does.
    if torch_file.matches(head) and not native.matches(head):
        return torch_file.read(path)
    if not native.matches(head):
        for start, what in _FOREIGN:
            if head.startswith(start):
                raise ValueError(f"{os.fspath(path)} is {what}: {_EXPECTED}")
    return native.read(path)


def _read_archive(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # the library promises no particular kinds
        raise ValueError(f"{os.fspath(path)} {DAMAGED} ({one_line(str(error))}): {AGAIN}") from None
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise ValueError(
            f"{os.fspath(path)} unpacks to more than {MAX_BYTES} bytes: "
            "give a file that holds one loss network"
        )
    names = [entry.filename for entry in entries]
    if npz.matches(names):
        return npz.read(path)
    if torch_file.matches_archive(names):
        return torch_file.read(path)
    raise ValueError(
        f"{os.fspath(path)} is a ZIP archive of {one_line(', '.join(names[:2]), 60)}...: "
        f"{_EXPECTED} (of a .keras file, save the weights as .weights.h5)"
    )

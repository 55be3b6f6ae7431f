"""The files that ship with jaxnst, and the table of known parameter files, ``registry.toml``.

A wheel carries them inside the package (``jaxnst/weights/data``); a checkout, also one installed
as editable, has them in the folder ``weights`` at its top. Transformation networks are in
``styles`` below either.
"""

import functools
import hashlib
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from jaxnst._files import check_source

_PACKAGE = Path(__file__).parent


def bundled(name: str) -> Path:
    """Return the path of a file that ships with jaxnst.

    Args:
      name: Its plain file name, e.g. ``vgg16-lite.safetensors``.

    Raises:
      FileNotFoundError: If no such file ships, or it was removed.
    """
    path = _folder() / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{name} is missing from {path.parent}: check the name, or install jaxnst again"
        )
    return path


def bundled_styles() -> dict[str, Path]:
    """Return the paths of the transformation networks that ship with jaxnst, by name, in order."""
    return {path.stem: path for path in sorted(_folder().glob("styles/*.safetensors"))}


def _folder() -> Path:
    data, checkout = _PACKAGE / "data", _PACKAGE.parents[1]
    # Beside an installed package, a folder called "weights" belongs to something else.
    is_checkout = (checkout / "pyproject.toml").is_file() and not data.is_dir()
    return checkout / "weights" if is_checkout else data


@dataclass(frozen=True, kw_only=True)
class KnownFile:
    """A parameter file that jaxnst knows by its content.

    Attributes:
      name: The official file name.
      network: Whose parameters they are, e.g. ``vgg19``.
      format: How they are stored: ``jaxnst-1``, ``keras-h5``, ``torch``, ``npz``, ``matconvnet``.
      origin: Who made the file and where it is published.
      license: Terms under which it is given.
      preprocessing: What the network expects of its input; the table's head explains the words.
      url: Official address, or "" where there is none.
      size: Bytes, or None if unknown.
      md5: Hexadecimal digest, or "".
      sha256: Hexadecimal digest, or "".
      sha256_prefix: Beginning of it, where no more is published, or "".
    """

    name: str
    network: str
    format: str
    origin: str
    license: str
    preprocessing: str
    url: str = ""
    size: int | None = None
    md5: str = ""
    sha256: str = ""
    sha256_prefix: str = ""


@functools.cache
def known_files() -> tuple[KnownFile, ...]:
    """Return the whole table, the bundled network first."""
    with open(bundled("registry.toml"), "rb") as file:
        return tuple(KnownFile(**entry) for entry in tomllib.load(file)["file"])


def find_known(path: str | os.PathLike[str]) -> KnownFile | None:
    """Return the known file that has the content of this one, whatever its name, or None.

    Raises:
      FileNotFoundError: If there is no such file.
      IsADirectoryError: If it is a folder.
      ValueError: If it is empty or not a plain file.
      OSError: If it cannot be read.
    """
    check_source(path)
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        # What some sources publish; it tells files apart, it does not protect.
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    size = os.path.getsize(path)
    for known in known_files():
        start = known.sha256 or known.sha256_prefix
        same = (start and sha256.startswith(start)) or md5 == known.md5
        if same and known.size in (None, size):
            return known
    return None

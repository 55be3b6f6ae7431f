"""The table of known parameter files: ``weights/registry.toml``, read when first asked for."""

import functools
import hashlib
import os
import string
import tomllib
from dataclasses import dataclass
from typing import Literal

from jaxnst.weights._files import open_weights
from jaxnst.weights.resolver import bundled

_LENGTHS = {"md5": 32, "sha256": 64}


@dataclass(frozen=True, kw_only=True)
class KnownFile:
    """A parameter file that jaxnst knows by its content.

    Attributes:
      name: The official file name.
      network: Whose parameters they are, e.g. ``vgg19``.
      format: How they are stored: ``jaxnst-1``, ``keras-h5``, ``torch``, ``npz``, ``matconvnet``.
      origin: Who made the file and where it is published.
      licence: Terms under which it is given.
      preprocessing: What the network expects of its input; the table's head explains the words.
      url: Official address, or "" where there is none.
      size: Bytes, or None where not known.
      md5: Hexadecimal digest, or "".
      sha256: Hexadecimal digest, or "".
      sha256_prefix: Beginning of it, where no more is published, or "".
    """

    name: str
    network: str
    format: str
    origin: str
    licence: str
    preprocessing: str
    url: str = ""
    size: int | None = None
    md5: str = ""
    sha256: str = ""
    sha256_prefix: str = ""

    def __post_init__(self) -> None:
        for kind in ("md5", "sha256", "sha256_prefix"):
            value = getattr(self, kind)
            length = _LENGTHS.get(kind, len(value))
            if value and (len(value) != length or not set(value) <= set(string.hexdigits.lower())):
                raise ValueError(f"{kind} of {self.name} is {value!r}, expected lower-case digits")


@functools.cache
def known_files() -> tuple[KnownFile, ...]:
    """Return the whole table, the bundled network first."""
    with open(bundled("registry.toml"), "rb") as file:
        return tuple(KnownFile(**entry) for entry in tomllib.load(file)["file"])


def digest(path: str | os.PathLike[str], *, algorithm: Literal["md5", "sha256"] = "sha256") -> str:
    """Return the hexadecimal digest of a file's content.

    Raises:
      FileNotFoundError: If there is no such file.
      IsADirectoryError: If it is a folder.
      ValueError: If it is empty or not a plain file.
      OSError: If it cannot be read.
    """
    # MD5 is what some sources publish; it tells files apart, it does not protect.
    state = hashlib.new(algorithm, usedforsecurity=False)
    with open_weights(path) as file:
        while block := file.read(2**20):
            state.update(block)
    return state.hexdigest()


def find_known(path: str | os.PathLike[str]) -> KnownFile | None:
    """Return the known file that has the content of this one, whatever its name, or None.

    Raises:
      OSError: As :func:`digest`.
      ValueError: As :func:`digest`.
    """
    with open_weights(path) as file:
        size = os.fstat(file.fileno()).st_size
    candidates = [known for known in known_files() if known.size in (None, size)]
    sha256 = digest(path) if any(k.sha256 or k.sha256_prefix for k in candidates) else ""
    md5 = digest(path, algorithm="md5") if any(k.md5 for k in candidates) else ""
    for known in candidates:
        if (
            (known.sha256 and known.sha256 == sha256)
            or (known.md5 and known.md5 == md5)
            or (known.sha256_prefix and sha256.startswith(known.sha256_prefix))
        ):
            return known
    return None

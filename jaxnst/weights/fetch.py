"""Download official parameter files, check them, and keep them in jaxnst's own format.

A file only gets the name under which a network looks for its parameters after its digest has been
compared with the table of known files and its values have been read.
"""

import os
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from jaxnst._download import download
from jaxnst._files import user_folder
from jaxnst.weights._files import MAX_BYTES
from jaxnst.weights.native import write_parameters
from jaxnst.weights.reader import read_parameters
from jaxnst.weights.registry import KnownFile, find_known, known_files

MIRRORS = "JAXNST_WEIGHTS_URL"
"""Environment variable: addresses of folders that hold the official files, separated by spaces,
to be tried in place of the official ones."""

SECONDS = 30.0
"""Longest wait for an answer, and between two pieces of a file."""


def fetched_path(network: str) -> Path:
    """Return where the downloaded parameters of a network are kept.

    Raises:
      FileNotFoundError: The user has no home to keep them in.
    """
    return user_folder("data") / "weights" / f"{network}.safetensors"


def is_fetched(network: str) -> bool:
    """Return whether the parameters of a network were downloaded."""
    try:
        return fetched_path(network).is_file()
    except FileNotFoundError:
        return False


def official_file(network: str) -> KnownFile:
    """Return the official file of a network that can be downloaded.

    Raises:
      KeyError: If there is none.
    """
    candidates = [known for known in known_files() if known.url]
    for known in candidates:
        if known.network == network:
            return known
    names = ", ".join(dict.fromkeys(known.network for known in candidates))
    raise KeyError(f"there is no file of {network!r} to download, expected one of {names}")


def fetch(network: str, *, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """Download a network's official parameters, unless they already were, and return their path.

    ``on_progress`` is called with the bytes received so far, and those of the whole file (0 if
    unknown); it may raise to stop.

    Raises:
      KeyError: If there is no such file.
      OSError: If no address gives it, or it cannot be written.
      ValueError: If what came is not the file of the table, or PyTorch is missing that reads it.
    """
    known, path = official_file(network), fetched_path(network)
    if path.is_file():
        return path
    if known.format == "torch" and find_spec("torch") is None:
        raise ValueError(
            f"{known.name} can only be read with PyTorch: pip install 'jaxnst[torch]' first"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    mirrors = os.environ.get(MIRRORS, "").split()
    addresses = [f"{mirror.rstrip('/')}/{known.name}" for mirror in mirrors] or [known.url]
    # In a new folder, so that two downloads at once do not meet and nothing unfinished is left.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as folder:
        file = Path(folder) / known.name
        for address in addresses:
            try:
                _download_known(address, file, known, on_progress)
                break
            except (OSError, ValueError):
                if address == addresses[-1]:
                    raise
        params, metadata = read_parameters(file)
    facts = {"network": network, "preprocessing": known.preprocessing, "origin": known.origin}
    if "epsilon" in metadata:
        facts["epsilon"] = metadata["epsilon"]
    write_parameters(path, params, metadata=facts)
    return path


def _download_known(
    address: str, path: Path, known: KnownFile, on_progress: Callable[[int, int], None] | None
) -> None:
    try:
        with path.open("wb") as file:
            download(address, file, max_bytes=MAX_BYTES, timeout=SECONDS, on_progress=on_progress)
    except OSError as error:
        raise OSError(
            f"{address} cannot be downloaded ({error}): check the connection, set "
            f"{MIRRORS}, or give a file of your own as --weights"
        ) from None
    size = path.stat().st_size
    if size == 0 or find_known(path) != known:
        start = path.read_bytes()[:64].lstrip()
        what = "a web page" if start.startswith(b"<") else f"{size} bytes of something else"
        raise ValueError(
            f"{address} gave {what} instead of {known.name}: try again, or set {MIRRORS}"
        )

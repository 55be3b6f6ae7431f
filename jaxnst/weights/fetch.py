"""Download official parameter files, check them, and keep them in jaxnst's own format.

pooch downloads. Nothing gets the name under which a network looks for its parameters before its
digest has been compared with the table of known files and its values have been read.
"""

import logging
import os
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from jaxnst._files import user_folder
from jaxnst.weights._files import one_line
from jaxnst.weights.native import write_parameters
from jaxnst.weights.reader import read_parameters
from jaxnst.weights.registry import KnownFile, find_known, known_files

MIRRORS = "JAXNST_WEIGHTS_URL"
"""Environment variable: addresses of folders that hold the official files, separated by spaces,
to be tried in place of the official ones."""

SECONDS = 30.0
"""Longest wait for an answer, and between two pieces of a file."""

Told = Callable[[int, int], None]
"""Takes the bytes received so far, and those of the whole file (0: not known)."""


def fetched_path(network: str) -> Path:
    """Return where the parameters of a network are kept once they were fetched.

    Raises:
      FileNotFoundError: The user has no home to keep them in.
    """
    return user_folder("data") / "weights" / f"{network}.safetensors"


def is_fetched(network: str) -> bool:
    """Tell whether the parameters of a network were fetched."""
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
    raise KeyError(f"there is no file of {network!r} to download: known are {names}")


def fetch(network: str, *, told: Told | None = None) -> Path:
    """Download a network's official parameters, or do nothing if they are there.

    Args:
      network: As ``vgg19``.
      told: Called as the file arrives; it may raise to stop.

    Returns:
      The path of the parameters, in jaxnst's format.

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
            f"{known.name} takes PyTorch to read: pip install 'jaxnst[torch]' before it is fetched"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    mirrors = os.environ.get(MIRRORS, "").split()
    addresses = [f"{mirror.rstrip('/')}/{known.name}" for mirror in mirrors] or [known.url]
    # A folder of one's own: two fetches at once do not meet, and nothing half stays behind.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as folder:
        failures = []
        for address in addresses:
            try:
                file = _download(address, Path(folder), known.name, told)
                _check(file, known, address)
                break
            except (OSError, ValueError) as error:
                failures.append(error)
        else:
            raise failures[-1]
        params, metadata = read_parameters(file)
        said = {"network": network, "preprocessing": known.preprocessing, "origin": known.origin}
        if "epsilon" in metadata:
            said["epsilon"] = metadata["epsilon"]
        write_parameters(path, params, metadata=said)
    return path


def _download(address: str, folder: Path, name: str, told: Told | None) -> Path:
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)  # it tells of digests that we compare ourselves
    downloader = pooch.HTTPDownloader(progressbar=_Meter(told), timeout=SECONDS)
    (folder / name).unlink(missing_ok=True)  # of an address before
    try:
        pooch.retrieve(address, None, name, folder, downloader=downloader)
    except OSError as error:  # those of requests are, too
        raise OSError(
            f"{address} cannot be downloaded ({_why(error)}): check the connection, or set "
            f"{MIRRORS}, or give a file of your own by --weights"
        ) from None
    return folder / name


def _why(error: OSError) -> str:
    """Say in a few words what requests says in many."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"status {error.response.status_code} {one_line(error.response.reason, 60)}"
    if isinstance(error, requests.Timeout):
        return f"no answer for {SECONDS:g} s"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refuses"
    if isinstance(error, requests.ConnectionError):
        return "no connection, or one that was cut"
    return one_line(str(error), 120)


def _check(file: Path, known: KnownFile, address: str) -> None:
    with file.open("rb") as opened:
        start = opened.read(64).lstrip()[:1]
    if file.stat().st_size == 0 or find_known(file) != known:
        what = "a web page" if start == b"<" else f"{file.stat().st_size} bytes of something else"
        raise ValueError(
            f"{address} gave {what} instead of {known.name}: try again, or set {MIRRORS}"
        )


class _Meter:
    """What pooch takes for a progress bar."""

    def __init__(self, told: Told | None) -> None:
        self.told, self.total, self.done = told, 0, 0

    def update(self, count: int) -> None:
        """Take in that more bytes have come; of the last piece pooch tells the usual length."""
        self.done += count
        if self.told is not None:
            self.told(min(self.done, self.total or self.done), self.total)

    def reset(self) -> None:
        """Begin again: pooch does so at the end, to fill the bar."""
        self.done = 0

    def close(self) -> None:
        """Nothing is to be closed."""

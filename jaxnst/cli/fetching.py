"""Pictures from anywhere: files, http(s) addresses, standard input."""

import contextlib
import io
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from threading import Thread
from urllib.parse import urlsplit, urlunsplit

from jaxnst._download import download
from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError, blaming_flags

STREAM = "-"
"""Stands for standard input among inputs, for standard output as an output."""

MAX_BYTES = 64 * 2**20
"""Most bytes that are read from an address or from standard input."""

SECONDS = 60.0
"""Longest time that an address may take, redirects included."""


def is_address(source: str) -> bool:
    """Return whether an input is an address, of any scheme, and not a path.

    Example:
      >>> is_address("https://example.org/a.jpg"), is_address("a.jpg"), is_address("c:/a.jpg")
      (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source) is not None


def shown(source: str) -> str:
    """Name an input in a message: printable, and without the secrets that an address may hold.

    Example:
      >>> shown("https://me:word@example.org/a.jpg?key=5")
      'https://example.org/a.jpg?...'
    """
    if source == STREAM:
        return "standard input"
    if not is_address(source):
        return name_of(source)
    try:
        parts = urlsplit(source)
        _ = parts.port  # fails where a part of a password stands in its place
    except ValueError:
        return "the address"
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
    return name_of(urlunsplit(bare) + ("?..." if parts.query else ""))


def check_sources(sources: list[str]) -> None:
    """Check inputs before any is read.

    Raises:
      UsageError: Standard input is named twice or is a terminal, or an address cannot be used.
    """
    if sources.count(STREAM) > 1:
        raise UsageError(
            "- (standard input) can be given only once: give a path for the other picture"
        )
    if STREAM in sources and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("- reads a picture from standard input: pipe one in, or give its path")
    with blaming_flags():
        for source in filter(is_address, sources):
            check_address(source)


def check_address(address: str) -> None:
    """Check that an address can be used.

    Raises:
      ValueError: It is not of http or https, names no host, or holds a password.
    """
    name = shown(address)
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:  # whose text may quote a password
        raise ValueError(f"{name} is no address: check it") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{name} is not of http or https: give such an address, or a path")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{name} comes with a user's name, which is not sent: save it to a file")
    if not host:
        raise ValueError(f"{name} names no host: check it")


@contextlib.contextmanager
def as_files(sources: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield the path of a file for each input; addresses and standard input are read once.

    Temporary files are deleted at the end.

    Raises:
      OSError: An address cannot be downloaded.
      ValueError: Standard input holds too much, or an address leads to one that cannot be used.
    """
    with contextlib.ExitStack() as stack:
        files: dict[str, str] = {}
        for number, source in enumerate(dict.fromkeys(sources)):
            files[source] = source
            if source == STREAM or is_address(source):
                data = _read_piped() if source == STREAM else fetch(source)
                # Private to the user.
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="jaxnst-"))
                files[source] = os.path.join(folder, str(number))
                with open(files[source], "xb") as file:
                    file.write(data)
        yield files


@contextlib.contextmanager
def blaming(source: str, path: str) -> Iterator[None]:
    """Make errors about a temporary file name the input that it was made from."""
    try:
        yield
    except (OSError, ValueError) as error:
        if source == path:
            raise
        kind = ValueError if isinstance(error, ValueError) else OSError
        raise kind(str(error).replace(path, shown(source))) from error


def _read_piped() -> bytes:
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(
            f"standard input has more than the {MAX_BYTES} bytes that are accepted: "
            "save it to a file first"
        )
    return data


def fetch(address: str, *, max_bytes: int = MAX_BYTES, seconds: int | float = SECONDS) -> bytes:
    """Return what an address of http or https gives.

    ``seconds`` is the longest time in all, redirects and the look-up of names included.

    Raises:
      OSError: It cannot be downloaded; TimeoutError if it takes too long.
      ValueError: It redirects to an address that cannot be used.
    """
    file, result = io.BytesIO(), Future[bytes]()

    def work() -> None:
        try:
            # Longer than the wait below, so that it is that which ends a silence.
            download(address, file, max_bytes=max_bytes, timeout=2 * seconds, check=check_address)
            result.set_result(file.getvalue())
        except BaseException as error:
            result.set_exception(error)

    # Nothing that a server does, or leaves undone, can hold the main thread.
    Thread(target=work, name="jaxnst-fetch", daemon=True).start()
    until = time.monotonic() + seconds
    while not result.done():
        wait([result], timeout=0.1)  # a short one: Ctrl-C does not interrupt it on Windows
        if time.monotonic() > until:
            file.close()  # so that the next piece is the last
            raise TimeoutError(
                f"{shown(address)} took more than {seconds:g} s: save it to a file first"
            )
    try:
        return result.result()
    except OSError as error:
        raise OSError(
            f"{shown(address)} cannot be downloaded ({error}): check it, or save it to a file first"
        ) from error

"""Pictures from anywhere: files, http(s) addresses, standard input.

What an address gives is bounded in bytes, time and redirects. The host of every hop is looked up
once, refused where it is this machine or a network of its own, and connected to at the address that
was checked: a name that resolves to something else a moment later leads nowhere. Proxies are not
used, since nobody here could check what they connect to.
"""

import contextlib
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from urllib.parse import SplitResult, urlsplit, urlunsplit

from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError

STREAM = "-"
"""Stands for standard input among inputs, for standard output as an output."""

MAX_BYTES = 64 * 2**20
"""Most bytes that are taken of an address or of standard input."""

SECONDS = 60.0
"""Longest time that an address may take, redirects included."""

REDIRECTS = 5


def is_address(source: str) -> bool:
    """Say whether an input is an address, of whatever kind, and no path.

    Example:
      >>> is_address("https://example.org/a.jpg"), is_address("a.jpg"), is_address("c:/a.jpg")
      (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source) is not None


def shown(source: str) -> str:
    """Name an input in a message: printable, and of an address nothing that may be secret.

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
        _ = parts.port  # which part of a password is taken for
    except ValueError:
        return "the address"
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
    return name_of(urlunsplit(bare) + ("?..." if parts.query else ""))


def check_sources(sources: list[str]) -> None:
    """Refuse inputs that cannot be taken, before any of them is.

    Raises:
      UsageError: Standard input is named twice or is a terminal, or an address cannot be used.
    """
    if sources.count(STREAM) > 1:
        raise UsageError("- is standard input, which can be read once: name one of them otherwise")
    if STREAM in sources and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("- reads a picture from standard input: pipe one in, or give its path")
    for source in filter(is_address, sources):
        try:
            split(source)
        except ValueError as error:
            raise UsageError(str(error)) from error


@contextlib.contextmanager
def as_files(sources: Iterable[str], *, allow_local: bool = False) -> Iterator[dict[str, str]]:
    """Give for each input the path of a file with what it holds; each is had once.

    Files that had to be made are gone afterwards.

    Args:
      sources: Paths, addresses and ``-``.
      allow_local: Whether addresses may be of this machine or its network.

    Raises:
      OSError: One cannot be had.
      ValueError: As OSError.
    """
    with contextlib.ExitStack() as stack:
        files: dict[str, str] = {}
        for number, source in enumerate(dict.fromkeys(sources)):
            if source != STREAM and not is_address(source):
                files[source] = source
                continue
            data = _piped() if source == STREAM else download(source, allow_local=allow_local)
            # No one else can look into it.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="jaxnst-"))
            files[source] = os.path.join(folder, str(number))
            with open(files[source], "xb") as file:
                file.write(data)
        yield files


@contextlib.contextmanager
def blaming(source: str, path: str) -> Iterator[None]:
    """Make complaints about a file that was made of an input name the input."""
    try:
        yield
    except (OSError, ValueError) as error:
        if source == path:
            raise
        kind = ValueError if isinstance(error, ValueError) else OSError
        raise kind(str(error).replace(path, shown(source))) from error


def _piped() -> bytes:
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(too_large("standard input", MAX_BYTES))
    return data


def too_large(name: str, most: int) -> str:
    """Complain of too many bytes."""
    return f"{name} has more than the {most} bytes that are taken: save it to a file first"


def download(
    address: str,
    *,
    allow_local: bool = False,
    most: int = MAX_BYTES,
    seconds: int | float = SECONDS,
) -> bytes:
    """Fetch what an address gives.

    Args:
      address: Of http or https.
      allow_local: Whether it, and what it redirects to, may be of this machine or its network.
      most: Bytes.
      seconds: In all, looking up names included.

    Raises:
      OSError: It cannot be had; TimeoutError if it takes too long.
      ValueError: The address, or one that it redirects to, cannot be used, or there is too much.
    """
    from jaxnst.cli.hops import Hops  # as slow to import as everything else together

    hops = Hops(allow_local=allow_local, most=most, seconds=seconds)
    future: Future[bytes] = Future()

    def work() -> None:
        try:
            future.set_result(hops.follow(address))
        except BaseException as error:
            future.set_exception(error)

    # Nothing that a server does, or leaves undone, can hold the main thread.
    threading.Thread(target=work, name="jaxnst-fetch", daemon=True).start()
    until = time.monotonic() + seconds
    while not wait([future], timeout=min(0.5, max(0.0, until - time.monotonic()))).done:
        if time.monotonic() >= until:
            hops.over = True
            raise TimeoutError(
                f"{shown(address)} took more than {seconds:g} s: save it to a file first"
            )
    return future.result()


def split(address: str) -> SplitResult:
    """Take an address apart.

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
    return parts

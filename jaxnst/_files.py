"""Files of any kind: checked before they are read, replaced completely or not at all.

Every error is one line that names the file and says what to do.
"""

import contextlib
import difflib
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import platformdirs
from numpy.typing import ArrayLike

AnyPath: TypeAlias = str | os.PathLike[str]

_unfinished: set[str] = set()
"""Temporary files that are being written."""


def name_of(path: AnyPath) -> str:
    """Name a file in a message: on one line and printable, whatever its bytes."""
    name = os.fspath(path)
    return name if name and name.isprintable() else ascii(name)


def reason(error: BaseException) -> str:
    """Return on one line what another library, or the system, complained about."""
    text = error.strerror if isinstance(error, OSError) else None
    return " ".join((text or str(error)).split()) or type(error).__name__


def user_folder(kind: Literal["cache", "data"]) -> Path:
    """Return jaxnst's folder of the user's caches or data; it need not exist.

    Raises:
      FileNotFoundError: The user has no home, as user numbers of containers have none.
    """
    find = {"cache": platformdirs.user_cache_dir, "data": platformdirs.user_data_dir}[kind]
    try:
        folder = Path(find("jaxnst", appauthor=False))
    except RuntimeError:  # older versions of platformdirs leave the "~" where it is
        folder = Path("~")
    if not folder.is_absolute():
        raise FileNotFoundError(
            f"this user has no home folder: set HOME or XDG_{kind.upper()}_HOME to a folder"
        )
    return folder


def ending_of(path: AnyPath, known: Collection[str], *, usual: str) -> str:
    """Return the ending of a file that is to be written, in lower case.

    ``usual`` is one of those known, suggested where none is near.

    Raises:
      ValueError: It is none of them.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in known:
        near = difflib.get_close_matches(ending, known, n=1, cutoff=0.8)
        what = f"the extension {name_of(ending)}" if ending else "no file extension"
        raise ValueError(
            f"{name_of(path)} has {what}, expected one of {', '.join(known)}: try "
            f"{near[0] if near else usual}"
        )
    return ending


def check_source(path: AnyPath, most_bytes: int = 2**40) -> None:
    """Refuse all but plain files within a limit of bytes; opening a pipe would wait for ever.

    Raises:
      FileNotFoundError: There is no such file.
      IsADirectoryError: It is a folder.
      ValueError: It cannot be looked at, is a device or a pipe, is empty or too long.
    """
    name = name_of(path)
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"{name} does not exist: check the name and the folder") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} cannot be opened ({reason(error)}): check the name") from error
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{name} is a folder: name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{name} is a pipe or a device: save its contents to a file first")
    if status.st_size == 0:
        raise ValueError(f"{name} is empty: get a complete copy of it")
    if status.st_size > most_bytes:
        raise ValueError(
            f"{name} has {status.st_size} bytes, more than the {most_bytes} that are read: "
            "make it smaller first"
        )


def destination(path: AnyPath) -> str:
    """Return the file behind all links that writing to ``path`` would replace.

    Raises:
      FileNotFoundError: Its folder does not exist.
      IsADirectoryError: It is a folder.
      PermissionError: It exists and is write-protected.
      OSError: No file can have that name: it is too long, as a rule.
      ValueError: It exists and is a device or a pipe.
    """
    name = name_of(path)
    try:
        target = os.path.realpath(path)
        os.lstat(target)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        kind = type(error) if isinstance(error, OSError) else OSError
        raise kind(f"{name} cannot be written ({reason(error)}): choose another name") from error
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise IsADirectoryError(f"{name} is a folder: name a file in it")
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"folder {name_of(folder)} does not exist: create it, or choose another for {name}"
        )
    if os.path.exists(target):
        if not os.path.isfile(target):
            raise ValueError(f"{name} is a pipe or a device: choose another name")
        if not os.access(target, os.W_OK):
            raise PermissionError(f"{name} is write-protected: choose another name")
    return target


def check_writable(path: AnyPath) -> None:
    """Check that :func:`replace_file` could write to ``path``.

    A temporary file is made in the folder: nothing else tells reliably.

    Raises:
      OSError: The folder cannot be written to, or no file can have that name; a fitting subclass.
      ValueError: The file exists and is a device or a pipe.
    """
    folder = os.path.dirname(destination(path))
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise type(error)(
            f"folder {name_of(folder)} is not writable ({reason(error)}): "
            f"choose another for {name_of(path)}"
        ) from error


def replace_file(path: AnyPath, data: bytes) -> None:
    """Write a whole file: beside ``path`` under another name, then moved into place.

    A crash never leaves half a file, and loses nothing that was there; of two processes that
    write the same file, the last to finish wins. The file's mode follows the umask.

    Raises:
      OSError: Writing failed; the subclass tells why, and nothing has changed.
      ValueError: The file exists and is a device or a pipe.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: AnyPath) -> Iterator[str]:
    """Make an empty file beside ``path``, which replaces it at the end, unless the body raises.

    Yields:
      Its name.

    Raises:
      OSError: Writing failed, also in the body; the subclass tells why, and nothing has changed.
      ValueError: The file exists and is a device or a pipe.
    """
    target = destination(path)
    temporary = os.path.join(os.path.dirname(target), f".jaxnst-{secrets.token_hex(8)}.tmp")
    _unfinished.add(temporary)
    try:
        # Opened plainly: tempfile's files are private to the user whatever the umask.
        with open(temporary, "xb"):
            pass
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if not isinstance(error, OSError):
            raise
        raise type(error)(
            f"{name_of(path)} could not be saved ({reason(error)}): free some space or choose "
            "another folder; an earlier file of that name is unchanged"
        ) from error
    finally:
        _unfinished.discard(temporary)


def discard_unfinished() -> None:
    """Delete temporary files that other threads are writing; for a process that ends at once."""
    for temporary in tuple(_unfinished):
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def digest_of(arrays: Mapping[str, ArrayLike]) -> str:
    """Return the SHA-256, in hexadecimal, of names, types, shapes and values, in whatever order.

    Example:
      >>> digest_of({"a": [1.0], "b": [2.0]}) == digest_of({"b": [2.0], "a": [1.0]})
      True
    """
    digest = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        array = np.ascontiguousarray(values)
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()

"""Errors become one line and an exit status; a traceback only with ``--debug``."""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from jaxnst._files import discard_unfinished, name_of, reason

FAILED, USAGE, STOPPED = 1, 2, 130
"""Exit statuses: files and everything else; flags and values; Ctrl-C."""


class UsageError(ValueError):
    """A flag, or its value, cannot be used."""


def guarded(prog: str, work: Callable[[], int], *, debug: bool) -> int:
    """Run a command; turn what it raises into a line on stderr and an exit status.

    The line begins with the command's name, ``prog``; with ``debug`` the traceback is shown too.
    """
    try:
        return work()
    except BrokenPipeError:  # the reader of stdout has ended, as `head` does
        silence(sys.stdout)
        return FAILED
    except KeyboardInterrupt:
        leave(print_error(prog, "stopped", STOPPED))
    except Exception as error:
        if debug:
            traceback.print_exc()
        status = USAGE if isinstance(error, UsageError) else FAILED
        return print_error(prog, explain(error), status)


@contextlib.contextmanager
def blaming_flags() -> Iterator[None]:
    """Turn errors about names and numbers into errors about the flags that they come from.

    Raises:
      UsageError: In the place of a KeyError or ValueError.
    """
    try:
        yield
    except (KeyError, ValueError) as error:
        raise UsageError(explain(error)) from error


def silence(stream: Any) -> None:
    """Discard the buffer of a broken stream, and all that is written to it from now on."""
    with contextlib.suppress(OSError, ValueError):  # it has no file, or is closed
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)


def leave(status: int) -> NoReturn:
    """End the process at once, without waiting for other threads or compilations."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    discard_unfinished()
    os._exit(status)


def print_error(prog: str, text: str, status: int) -> int:
    """Print one line on stderr and return ``status``."""
    line = "".join(c if c.isprintable() else " " for c in text)
    print(f"{prog}: error: {' '.join(line.split())}", file=sys.stderr, flush=True)
    return status


def explain(error: Exception) -> str:
    """Describe an exception to the user."""
    text = reason(error)
    if isinstance(error, KeyError):
        return str(error.args[0]) if error.args else "a name is missing"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return "there was not enough memory: use a smaller --size"
    if isinstance(error, OSError) and error.filename is not None:
        if isinstance(error, FileNotFoundError):
            text = "does not exist: check the name and the folder"
        name = name_of(os.fspath(error.filename))
        return f"{name} {text}" if isinstance(error, FileNotFoundError) else f"{name}: {text}"
    # The library's own errors are of these kinds, and say what to do.
    if isinstance(error, OSError | ValueError | TypeError):
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"

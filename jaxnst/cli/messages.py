"""Messages of the commands: on stderr, none with ``--quiet``; results on stdout, or as JSON.

Results are files, so printing must never fail the work: :func:`printing` makes stdout and stderr
safe for a whole command, and :func:`print_line` loses a line rather than a result.
"""

import codecs
import contextlib
import io
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from jaxnst._files import reason
from jaxnst.cli.errors import FAILED, print_error, silence
from jaxnst.cli.logs import json_line

LINE_SECONDS = 5.0
"""Between two lines of progress."""

ESCAPED = "jaxnst-escaped"
"""Name of the error handler of stdout."""


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write bytes of a file's name as they are, and escape characters that an encoding lacks."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)


def _escape(character: str) -> str:
    """Escape a byte of a name that is no text; anything else becomes a space."""
    return ascii(character)[1:-1] if "\ud800" <= character <= "\udfff" else " "


class _Unfailing:
    """A text stream that discards what it cannot write, so that the work continues."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except (OSError, ValueError):
            silence(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            silence(self._stream)


@contextmanager
def printing(prog: str) -> Iterator[None]:
    """Make standard streams safe to print to while a command runs.

    A stream that is closed is opened to nowhere, or the next file that is opened would take its
    number, and libraries would write their messages into it. Messages on a stderr that fails are
    lost. A name that stdout's encoding lacks is escaped.

    Raises:
      SystemExit: What is still to be printed on stdout cannot be.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error(ESCAPED, _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=ESCAPED)
    before = sys.stderr
    with contextlib.ExitStack() as stack:
        stream = before or stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        sys.stderr = cast(TextIO, _Unfailing(stream))
        try:
            yield
        except BrokenPipeError:  # in what prints and exits, such as --help
            silence(sys.stdout)
            raise SystemExit(FAILED) from None
        finally:
            try:
                if sys.stdout is not None:
                    sys.stdout.flush()
            except OSError as error:
                silence(sys.stdout)
                if isinstance(error, BrokenPipeError):  # the reader has ended, as `head` does
                    raise SystemExit(FAILED) from None
                text = f"standard output cannot be written ({reason(error)})"
                raise SystemExit(print_error(prog, text, FAILED)) from None
            finally:
                sys.stderr = before


def print_line(path: str) -> None:
    """Print a line about a saved result; if stdout fails, only the line is lost."""
    try:
        print(path, flush=True)
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        silence(sys.stdout)
        print(
            f"jaxnst: notice: standard output cannot be written ({reason(error)}); results are "
            "saved nevertheless",
            file=sys.stderr,
        )


class Messages:
    """Prints messages on stderr, and results on stdout.

    Attributes:
      quiet: Whether to print no messages.
      json: Whether stdout has a line of JSON for every event, instead of the results' paths.
    """

    def __init__(self, prog: str, *, quiet: bool, json: bool = False) -> None:
        self.prog, self.quiet, self.json, self.last = prog, quiet, json, time.monotonic()
        self.noticed = set[str]()

    def event(self, event: str, **facts: Any) -> None:
        """Print a line of JSON, if that is wanted."""
        if self.json:
            print_line(json_line({"event": event, **facts}))

    def saved(self, path: str, **facts: Any) -> None:
        """Print the path of a saved result, or the event with more facts."""
        if self.json:
            self.event("saved", output=path, **facts)
        else:
            print_line(path)

    def info(self, text: str) -> None:
        """Print a line, with control characters as spaces and bytes that are no text escaped."""
        if not self.quiet:
            line = "".join(c if c.isprintable() else _escape(c) for c in text)
            print(line, file=sys.stderr, flush=True)

    def now_and_then(self, text: str) -> None:
        """Print a line of progress, at most one in LINE_SECONDS."""
        if time.monotonic() - self.last >= LINE_SECONDS:
            self.last = time.monotonic()
            self.info(text)

    def notice(self, text: str) -> None:
        """Print a line that the user should read, once."""
        if text not in self.noticed:
            self.noticed.add(text)
            self.info(f"{self.prog}: notice: {' '.join(text.split())}")

    @contextmanager
    def warnings_as_notices(self) -> Iterator[None]:
        """Show warnings as notices, in one line each."""

        def show(message: Warning | str, *_: Any, **__: Any) -> None:
            self.notice(str(message))

        with warnings.catch_warnings():
            warnings.showwarning = show
            yield


def quiet_xla(*, debug: bool) -> None:
    """Silence XLA's log: alarms about slow compilation, and what JAX raises anyway."""
    if not debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def length(seconds: int | float) -> str:
    """Format a duration.

    Example:
      >>> length(7.2), length(75), length(7260)
      ('7 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def amount(count: int | float) -> str:
    """Format a number of bytes.

    Example:
      >>> amount(1.5 * 2**30), amount(300 * 2**20), amount(8)
      ('1.5 GiB', '300 MiB', '8 bytes')
    """
    if count < 2**10:
        return f"{count:.0f} bytes"
    if count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def shape(size: tuple[int, int]) -> str:
    """Format a size ``(height, width)``, width first.

    Example:
      >>> shape((384, 512))
      '512x384'
    """
    return f"{size[1]}x{size[0]}"

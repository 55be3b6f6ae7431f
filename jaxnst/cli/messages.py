"""What a run says beside its result: everything on stderr, and nothing at all when quiet."""

import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LINE_SECONDS = 5.0
"""Between two lines that say how far something is."""


class Messages:
    """Prints lines for people.

    Attributes:
      quiet: Whether to keep silent.
    """

    def __init__(self, prog: str, *, quiet: bool) -> None:
        self.prog, self.quiet, self.last = prog, quiet, time.monotonic()

    def say(self, text: str) -> None:
        """Print a line; whatever could steer a terminal becomes a space."""
        if not self.quiet:
            line = "".join(c if c.isprintable() else " " for c in text)
            print(line, file=sys.stderr, flush=True)

    def now_and_then(self, text: str) -> None:
        """Print a line unless the last such line was printed a moment ago."""
        if time.monotonic() - self.last >= LINE_SECONDS:
            self.last = time.monotonic()
            self.say(text)

    def notice(self, text: str) -> None:
        """Print a line that a person should heed."""
        self.say(f"{self.prog}: notice: {' '.join(text.split())}")

    @contextmanager
    def warnings_as_notices(self) -> Iterator[None]:
        """Show warnings of Python libraries as notices, in one line each."""

        def show(message: Warning | str, *_: Any, **__: Any) -> None:
            self.notice(str(message))

        with warnings.catch_warnings():
            warnings.showwarning = show
            yield


def hush_xla(*, debug: bool) -> None:
    """Keep XLA's own log away: alarms about slow compilation, and what JAX raises anyway."""
    if not debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def length(seconds: int | float) -> str:
    """Write a duration for people.

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
    """Write a number of bytes for people.

    Example:
      >>> amount(1.5 * 2**30), amount(300 * 2**20), amount(8)
      ('1.5 GiB', '300 MiB', '8 bytes')
    """
    if count < 2**10:
        return f"{count:.0f} bytes"
    if count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def two_digits(value: float) -> str:
    """Write a number to two digits, without a power of ten.

    Example:
      >>> two_digits(1.14), two_digits(99.7), two_digits(1284.0)
      ('1.1', '100', '1300')
    """
    return f"{float(f'{value:.2g}'):.15g}"


def shape(size: tuple[int, int]) -> str:
    """Write a size ``(height, width)`` as people do, width first.

    Example:
      >>> shape((384, 512))
      '512x384'
    """
    return f"{size[1]}x{size[0]}"

"""What all readers share: arrays by name, errors, limits."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Parameters: TypeAlias = dict[str, NDArray[np.float32]]
"""Arrays by flat name: ``conv1_1/kernel`` (HWIO), ``conv1_1/bias``."""

MAX_BYTES = 2**30
"""Largest file that is read into memory: twice that of any network (the whole VGG19, float32)."""

MAX_VALUES = 2**26
"""Most values that are read from files of other programs: VGG19 has 20 million in convolutions."""

DAMAGED = "is cut short or damaged"
AGAIN = "copy or download it again"


class Refused(ValueError):
    """What is wrong with a file, and what to do; follows the file's name."""


def error_line(error: Exception) -> str:
    """Return what follows a file's name in a message about an error that reading it raised.

    Libraries promise no particular exceptions for damaged files: any means damage.
    """
    if isinstance(error, Refused):
        return str(error)
    return f"{DAMAGED} ({one_line(str(error) or type(error).__name__)}): {AGAIN}"


def check_size(size: int, what: str = "has") -> None:
    """Raise Refused if that is more bytes than allowed."""
    if size > MAX_BYTES:
        raise Refused(
            f"{what} {size} bytes, expected at most {MAX_BYTES}: "
            "give a file that holds one loss network"
        )


def check_values(number: int) -> None:
    """Raise Refused if a file of another program has more values than any loss network."""
    if number > MAX_VALUES:
        raise Refused(f"has {number} values, expected at most {MAX_VALUES}: give a loss network")


def one_line(text: str, longest: int = 200) -> str:
    """Make text that came out of a file fit to print: one line, printable, not too long."""
    text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 3] + "..."


def not_floating(name: str, kind: object) -> Refused:
    """Return the error about an array whose values are no floating point numbers."""
    return Refused(
        f"stores {one_line(name, 60)} as {one_line(str(kind), 40)}, expected floating point "
        "numbers: give a loss network saved in float32"
    )


def as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Copy an array as float32; values that do not fit become infinite.

    ``check_parameters`` reports those.
    """
    with np.errstate(all="ignore"):
        return np.array(values, np.float32, order="C")

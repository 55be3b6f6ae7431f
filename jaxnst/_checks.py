"""Checks of a recipe's values and names; each complains in one line that names the field."""

import math
from collections.abc import Collection, Mapping
from typing import TypeVar

T = TypeVar("T")

MOST = 1e30
"""Losses are float32, which end at 3e38: what is multiplied by more has no finite loss."""


def among(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(choices)}")


def lookup(what: str, name: str, table: Mapping[str, T]) -> T:
    """Return what a table has by a name, or raise ValueError with the names that it knows."""
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}: known are {', '.join(table)}")
    return table[name]


def not_own(what: str, name: str, own: Collection[str]) -> None:
    """Refuse to replace what is jaxnst's own."""
    if name in own:
        raise ValueError(f"{what} {name!r} is jaxnst's own: choose another name")


def check(name: str, value: object, fits: bool, expected: str) -> None:
    """Refuse a value that does not fit."""
    if not fits:
        raise ValueError(f"{name} is {value}, expected {expected}")


def finite(name: str, value: float) -> None:
    """Refuse infinities and NaN."""
    check(name, value, math.isfinite(value), "a finite number")


def positive(name: str, value: float) -> None:
    """Refuse what is not above 0, not finite, or beyond all reason."""
    check(name, value, 0 < value <= MOST, f"a number above 0, at most {MOST:g}")


def not_negative(name: str, value: float) -> None:
    """Refuse what is below 0, not finite, or beyond all reason."""
    check(name, value, 0 <= value <= MOST, f"a number from 0 to {MOST:g}")

"""Checks of a recipe's values; each complains in one line that names the field."""

import math

MOST = 1e30
"""Losses are float32, which end at 3e38: what is multiplied by more has no finite loss."""


def among(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(choices)}")


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

"""Compare the parameters of a file with those that a network expects."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxnst.weights._files import AGAIN, one_line

_LISTED = 6


def check_parameters(
    found: Mapping[str, NDArray[Any]],
    expected: Mapping[str, tuple[int, ...]],
    source: str | os.PathLike[str],
    *,
    prefix_ok: bool = True,
) -> tuple[str, ...]:
    """Check names, shapes and values, and say which layers there are.

    Args:
      found: Arrays by flat name, as read from a file.
      expected: Shapes by flat name, from the shallowest layer to the deepest.
      source: Where ``found`` came from, for the message.
      prefix_ok: Whether the file may end at a whole layer, leaving out all deeper ones.

    Returns:
      The names of the layers present (``conv1_1``, ...), from the shallowest to the deepest.

    Raises:
      ValueError: If a parameter is missing, unexpected, of a wrong shape or not finite: one line
        that lists the names.
    """
    layers = list(dict.fromkeys(map(_layer, expected)))
    present = tuple(layer for layer in layers if any(_layer(name) == layer for name in found))
    last = layers.index(present[-1]) if present and prefix_ok else len(layers) - 1
    needed = set(layers[: last + 1])
    known = [name for name in expected if name in found]
    wrong = [name for name in known if found[name].shape != expected[name]]
    problems = {
        "missing": [n for n in expected if _layer(n) in needed and n not in found],
        "unexpected": [n for n in found if n not in expected],
        "wrong shape": [f"{n} {found[n].shape} instead of {expected[n]}" for n in wrong],
        "not finite": [n for n in known if not np.isfinite(found[n]).all()],
    }
    text = "; ".join(f"{what} {_listing(names)}" for what, names in problems.items() if names)
    if text:
        fits = not any(names for what, names in problems.items() if what != "not finite")
        advice = AGAIN if fits else "give the file that was made for this network"
        raise ValueError(f"{os.fspath(source)} does not fit the network: {text}: {advice}")
    return present


def _layer(name: str) -> str:
    return name.rpartition("/")[0]


def _listing(names: Iterable[str]) -> str:
    names = [one_line(name, 80) for name in names]
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" ... and {rest} more" if rest > 0 else "")

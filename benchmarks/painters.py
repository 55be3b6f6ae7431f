"""One picture, painted by jaxnst and by PyTorch: the same picture, and who is faster."""

import importlib.util
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import jax
import numpy as np

from benchmarks.measure import Row, interleaved

Painter = Callable[[], np.ndarray]


def both_layouts(make: Callable[[Any], Painter]) -> dict[str, Painter]:
    """Make PyTorch's painter in both of its memory layouts; none where there is no comparison.

    Args:
      make: From a ``torch.memory_format``. Whatever needs PyTorch is imported in there.
    """
    if importlib.util.find_spec("torch") is None or jax.default_backend() != "cpu":
        return {}
    import torch

    layouts = {"first": torch.contiguous_format, "last": torch.channels_last}
    return {f"torch, channels {name}": make(layout) for name, layout in layouts.items()}


def flat(params: Any) -> dict[str, Any]:
    """Name parameters by layer and part: ``conv1_1/kernel``."""
    return {
        f"{layer}/{part}": array for layer, parts in params.items() for part, array in parts.items()
    }


def race(
    benchmark: str,
    case: str,
    ours: Painter,
    theirs: Mapping[str, Painter],
    *,
    tolerance: float,
    rounds: int,
    bar: float | None,
    distance: Callable[[np.ndarray], Any] = np.max,
    note: str = "",
) -> list[Row]:
    """Time painters by turns; the faster of PyTorch's counts.

    Args:
      benchmark: Which question the rows belong to.
      case: What is painted.
      ours: jaxnst's painter.
      theirs: PyTorch's, by name.
      tolerance: Greatest distance of two pictures.
      rounds: How often each paints.
      bar: Greatest ratio that is good enough, or None.
      distance: Of two pictures, from the absolute differences of their values.
      note: On jaxnst's row.

    Raises:
      AssertionError: If they paint different pictures: another function would be timed.
    """
    for peer, paint in theirs.items():
        found = float(distance(np.abs(paint() - ours())))
        if not found <= tolerance:
            raise AssertionError(
                f"{peer} paints a picture that is {found:.1e} from jaxnst's, expected at most "
                f"{tolerance:g}: another function would be timed"
            )
    seconds = interleaved({"jaxnst": ours, **theirs}, rounds=rounds)
    fastest = min((median(seconds[peer]) for peer in theirs), default=None)
    rows = []
    for what, several in seconds.items():
        own = what == "jaxnst"
        compared = own and fastest is not None
        rows.append(
            Row(
                benchmark=benchmark,
                case=case,
                what=what,
                seconds=tuple(several),
                ratio=median(several) / fastest if compared else None,
                bar=bar if compared else None,
                note=note if own else "",
            )
        )
    return rows

"""Losses as curves, by Matplotlib, which is imported here alone, when something is drawn."""

import io
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxnst import _files
from jaxnst._files import AnyPath
from jaxnst.transfer.result import Progress

ENDINGS = (".png", ".svg", ".pdf")
"""File endings that can be written."""

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's


class History:
    """The losses of a run as it reports them, and where its scales begin.

    Attributes:
      evaluations: After which the losses were reported.
      losses: Lists of them by name.
      begins: Of every scale, how many evaluations there were before it, and its size.
    """

    def __init__(self) -> None:
        self.evaluations: list[int] = []
        self.losses: dict[str, list[float]] = {}
        self.begins: dict[int, tuple[int, tuple[int, int]]] = {}

    @property
    def scales(self) -> list[tuple[int, tuple[int, int]]]:
        """How many evaluations there were before each scale, and its height and width, pixels."""
        return list(self.begins.values())

    def __call__(self, progress: Progress) -> None:
        """Take in a run's progress."""
        done = progress.total_done - progress.evaluations
        self.begins.setdefault(progress.scale, (done, progress.size))
        if not 0 < progress.losses.get("total", 0.0) < math.inf:  # it could not be drawn
            return
        self.evaluations.append(progress.total_done)
        for name, value in progress.losses.items():
            self.losses.setdefault(name, []).append(value)


def can_plot() -> bool:
    """Say whether Matplotlib is installed."""
    return find_spec("matplotlib") is not None


def check_plot(path: AnyPath) -> None:
    """Find out, before any work, whether a plot can be written.

    Raises:
      ValueError: The ending is none of ``ENDINGS``.
      ModuleNotFoundError: Matplotlib is missing.
      OSError: As :func:`jaxnst._files.check_writable`.
    """
    _kind(path)
    if not can_plot():
        raise ModuleNotFoundError(
            f"{_files.name_of(path)} needs Matplotlib: pip install 'jaxnst[watch]'"
        )
    _files.check_writable(path)


def save_losses(
    path: AnyPath,
    losses: Mapping[str, ArrayLike],
    *,
    evaluations: ArrayLike | None = None,
    scales: Sequence[tuple[int, tuple[int, int]]] = (),
    count: str = "evaluations",
) -> None:
    """Write :func:`draw_losses` to a file; a crash never leaves half of one.

    Args:
      path: Where to; one of ``ENDINGS``.
      losses: As there.
      evaluations: As there.
      scales: As there.
      count: As there.

    Raises:
      ValueError: The ending is unknown, or as there.
      OSError: It cannot be written.
    """
    kind = _kind(path)
    _files.replace_file(
        path,
        draw_losses(losses, evaluations=evaluations, scales=scales, kind=kind, count=count),
    )


def draw_losses(
    losses: Mapping[str, ArrayLike],
    *,
    evaluations: ArrayLike | None = None,
    scales: Sequence[tuple[int, tuple[int, int]]] = (),
    kind: str = "png",
    inches: tuple[float, float] = (8.0, 4.5),
    count: str = "evaluations",
) -> bytes:
    """Draw the loss and its terms over evaluations, the loss on a logarithmic scale.

    Args:
      losses: Values by name, as in :class:`jaxnst.StylizeResult`: ``total`` and its terms. What is
        never above 0 is left out.
      evaluations: After which each value was found; None: 1, 2, and so on.
      scales: How many evaluations there were before each scale, and its height and width, pixels.
      kind: ``png``, ``svg`` or ``pdf``.
      inches: Width and height; a PNG has 120 pixels to the inch.
      count: What is counted along the axis.

    Returns:
      The file.

    Raises:
      ValueError: No value is above 0.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    positive = {name: _positive(values) for name, values in losses.items()}
    shown = {name: values for name, values in positive.items() if np.isfinite(values).any()}
    if not shown:
        raise ValueError("losses hold no number above 0, expected some to draw")
    # No pyplot: it keeps figures, and chooses a window system.
    figure = Figure(figsize=inches, dpi=120, layout="constrained")
    axes = figure.add_subplot()
    number = len(next(iter(shown.values())))
    counts = np.arange(1, number + 1) if evaluations is None else np.asarray(evaluations)
    for name, colour in zip(shown, _colours(shown), strict=True):
        values = shown[name]
        width, order = (2.2, 3) if name == "total" else (1.4, 2)
        few = "o" if len(values) < 3 else ""
        axes.plot(counts, values, label=name, color=colour, lw=width, zorder=order, marker=few)
    axes.set(yscale="log", xlabel=count, ylabel="loss, and its weighted terms")
    first = min([begin for begin, _ in scales] + [int(counts.min())])
    axes.set_xlim(first, max(first + 1, int(counts.max())))
    # A term that begins near zero must not squeeze all others together.
    floor = min(float(np.nanmedian(values)) for values in shown.values()) / 30
    axes.set_ylim(bottom=max(floor, axes.get_ylim()[0]))
    _mark_scales(axes, scales)
    axes.grid(True, color="0.9", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "jaxnst"}):  # so that the same losses give the same file
        figure.savefig(buffer, format=kind, metadata=_UNDATED.get(kind))
    return buffer.getvalue()


_UNDATED: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def _colours(names: Mapping[str, Any]) -> list[str]:
    """Give the total the text's colour, and every term a colour of its own."""
    terms = [name for name in names if name != "total"]
    return [
        "0.15" if name == "total" else _COLOURS[terms.index(name) % len(_COLOURS)] for name in names
    ]


def _mark_scales(axes: Any, scales: Sequence[tuple[int, tuple[int, int]]]) -> None:
    for begin, (height, width) in scales:
        if begin:
            axes.axvline(begin, color="0.7", lw=0.8, ls="--", zorder=1)
        axes.annotate(
            f"{width}x{height}",
            (begin, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 2),
            textcoords="offset points",
            color="0.4",
            fontsize=8,
        )


def _positive(values: ArrayLike) -> np.ndarray[Any, np.dtype[np.float64]]:
    given = np.asarray(values, np.float64)
    return np.where(np.isfinite(given) & (given > 0), given, np.nan)


def _kind(path: AnyPath) -> str:
    return _files.ending_of(path, ENDINGS, usual=".png")[1:]

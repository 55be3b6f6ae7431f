"""Plots of losses. Matplotlib is imported only when something is drawn."""

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
"""File endings of plots."""

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colors of the curves, from the color-blind safe palette of Okabe and Ito (2008)."""


class History:
    """The losses of a run as it reports them: a callback.

    Attributes:
      evaluations: After which the losses were reported.
      losses: Lists of them by name.
      scales: Evaluations before each scale, and its height and width, pixels.
    """

    def __init__(self) -> None:
        self.evaluations: list[int] = []
        self.losses: dict[str, list[float]] = {}
        self.scales: list[tuple[int, tuple[int, int]]] = []

    def __call__(self, progress: Progress) -> None:
        """Add what a run reports; a loss that cannot be drawn is left out."""
        scale = progress.total_done - progress.evaluations, progress.size
        if scale not in self.scales:
            self.scales.append(scale)
        if not 0 < progress.losses.get("total", 0.0) < math.inf:
            return
        self.evaluations.append(progress.total_done)
        for name, value in progress.losses.items():
            self.losses.setdefault(name, []).append(value)


def can_plot() -> bool:
    """Tell whether Matplotlib is installed."""
    return find_spec("matplotlib") is not None


def check_plot(path: AnyPath) -> None:
    """Check, before any work, that a plot can be written.

    Raises:
      ValueError: The ending is none of ``ENDINGS``, or the file is a device or a pipe.
      ModuleNotFoundError: Matplotlib is missing.
      OSError: The folder does not exist, or cannot be written to.
    """
    _files.ending_of(path, ENDINGS, usual=".png")
    if not can_plot():
        raise ModuleNotFoundError(
            f"{_files.name_of(path)} needs Matplotlib: pip install 'jaxnst[watch]'"
        )
    _files.check_writable(path)


def save_losses(path: AnyPath, losses: Mapping[str, ArrayLike], **options: Any) -> None:
    """Write a plot of losses to a file with one of ``ENDINGS``. A crash never leaves half a file.

    The options are those of :func:`plot_losses`.

    Raises:
      ValueError: The ending is unknown, or no value is above 0.
      OSError: The file cannot be written.
    """
    kind = _files.ending_of(path, ENDINGS, usual=".png")[1:]
    _files.replace_file(path, draw_losses(losses, kind=kind, **options))


def draw_losses(losses: Mapping[str, ArrayLike], *, kind: str = "png", **options: Any) -> bytes:
    """Draw losses as :func:`plot_losses` does, and return the file: ``png``, ``svg`` or ``pdf``.

    Raises:
      ValueError: No value is above 0.
    """
    from matplotlib import rc_context

    figure = plot_losses(losses, **options)
    buffer = io.BytesIO()
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with rc_context({"svg.hashsalt": "jaxnst"}):  # so that the same losses give the same file
        figure.savefig(buffer, format=kind, metadata=undated.get(kind))
    return buffer.getvalue()


def plot_losses(
    losses: Mapping[str, ArrayLike],
    *,
    evaluations: ArrayLike | None = None,
    scales: Sequence[tuple[int, tuple[int, int]]] = (),
    inches: tuple[float, float] = (8.0, 4.5),
    count: str = "evaluations",
) -> Any:
    """Plot the loss and its terms over evaluations, the loss on a logarithmic scale.

    Args:
      losses: Values by name, as in :class:`jaxnst.StylizeResult`: ``total`` and its terms. A term
        that is never above 0 is left out.
      evaluations: After which each value was computed; None: 1, 2, and so on.
      scales: Evaluations before each scale, and its height and width, pixels.
      inches: Width and height; a PNG has 120 pixels to the inch.
      count: What is counted along the axis.

    Returns:
      A figure of Matplotlib, which is imported here; ``figure.savefig(path)`` writes it.

    Raises:
      ModuleNotFoundError: Matplotlib is missing.
      ValueError: No value is above 0.
    """
    if not can_plot():
        raise ModuleNotFoundError("plots need Matplotlib: pip install 'jaxnst[watch]'")
    from matplotlib.figure import Figure

    curves = {}
    for name, numbers in losses.items():
        values = np.asarray(numbers, np.float64)
        positive = np.isfinite(values) & (values > 0)
        if positive.any():
            curves[name] = np.where(positive, values, np.nan)
    if not curves:
        raise ValueError("losses hold no number above 0, expected some to draw")
    # Without pyplot, which keeps figures and chooses a window system.
    figure = Figure(figsize=inches, dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_prop_cycle(color=COLORS)
    length = len(next(iter(curves.values())))
    counts = np.arange(1, length + 1) if evaluations is None else np.asarray(evaluations)
    for name, values in curves.items():
        style: dict[str, Any] = {"lw": 1.4, "zorder": 2}
        if name == "total":
            style = {"lw": 2.2, "zorder": 3, "color": "0.15"}
        axes.plot(counts, values, label=name, marker="o" if length < 3 else "", **style)
    axes.set(yscale="log", xlabel=count, ylabel="loss, and its weighted terms")
    first = min([begin for begin, _ in scales] + [int(counts.min())])
    axes.set_xlim(first, max(first + 1, int(counts.max())))
    # A term that begins near zero must not squeeze all others together.
    floor = min(float(np.nanmedian(values)) for values in curves.values()) / 30
    axes.set_ylim(bottom=max(floor, axes.get_ylim()[0]))
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
    axes.grid(True, color="0.9", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure

"""Who listens to a run: its display, pictures on the way, a log, a plot, an animation, a figure.

A listener hears of every report and of the end. One that fails hears no more, and the run goes on:
its trouble is told at the end, when the picture is safe.
"""

import argparse
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxnst.cli.errors import FAILED, complain, explain
from jaxnst.cli.inputs import Pictures
from jaxnst.cli.logs import JsonLines
from jaxnst.cli.outputs import numbered
from jaxnst.cli.saving import save_options
from jaxnst.image import save_image
from jaxnst.image.color import Pixels
from jaxnst.report.animation import as_frame, save_animation
from jaxnst.report.contact_sheet import LONGEST, contact_sheet
from jaxnst.report.plot import History, save_losses
from jaxnst.transfer.stylize import Progress, StylizeResult

FRAMES = 100
"""Most frames of an animation unless the person says how far they are apart."""

MOST_FRAMES = 300
"""Frames that are kept: more would take more memory than the run."""


@runtime_checkable
class Listener(Protocol):
    """Hears of a run."""

    def __call__(self, progress: Progress) -> None:
        """Hear how far it is."""

    def close(self, result: StylizeResult | None) -> None:
        """Hear that it is over; there is no result if it was stopped or failed."""


class Over(Exception):
    """Nobody listens any more."""


class Watch:
    """Tells all listeners of a run, and remembers the last news.

    Attributes:
      last: The last news, or None.
      troubles: What went wrong with listeners, a line each.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = list(listeners)
        self.last: Progress | None = None
        self.troubles: list[str] = []
        self.over = False
        self.telling = threading.Lock()  # a run that was stopped still reports, from its thread

    def __call__(self, progress: Progress) -> None:
        """Take in the news.

        Raises:
          Over: After :meth:`end`; that ends the run.
        """
        with self.telling:
            if self.over:
                raise Over
            self.last = progress
            self._tell(lambda listener: listener(progress))

    def end(self) -> None:
        """Listen to nothing any more."""
        with self.telling:
            self.over = True

    def close(self, result: StylizeResult | None) -> None:
        """Tell all listeners, once, that the run is over."""
        self.end()
        self._tell(lambda listener: listener.close(result))
        self.listeners = []

    def complain(self, prog: str, status: int) -> int:
        """Print what went wrong with listeners; return ``status``, or FAILED in place of 0."""
        for trouble in self.troubles:
            complain(prog, trouble, FAILED)
        return status or (FAILED if self.troubles else 0)

    def _tell(self, tell: Callable[[Listener], None]) -> None:
        for listener in tuple(self.listeners):
            try:
                tell(listener)
            except Exception as error:
                self.listeners.remove(listener)
                self.troubles.append(explain(error))


def make_listeners(
    flags: argparse.Namespace, pictures: Pictures, total: int, *, done: int = 0
) -> list[Listener]:
    """Make those that the flags ask for.

    Args:
      flags: Of the command.
      pictures: That it has read.
      total: How many evaluations there will be.
      done: How many there have been, in a run that is gone on with.
    """
    found = list[Listener]()
    if flags.save_every:
        found.append(SaveEvery(flags.output, flags.save_every, save_options(flags), done=done))
    if flags.log:
        found.append(Log(flags.log))
    if flags.plot:
        found.append(Plot(flags.plot))
    if interval := frame_interval(flags, total):
        found.append(Animate(flags.animate, interval))
    if flags.side_by_side:
        found.append(Figure(flags.side_by_side, pictures.content, pictures.styles))
    return found


def frame_interval(flags: argparse.Namespace, total: int) -> int | None:
    """Count the evaluations between two frames of the animation, if there is to be one."""
    return (flags.animate_every or -(-total // FRAMES)) if flags.animate else None


def report_interval(flags: argparse.Namespace, total: int) -> int | None:
    """Count the evaluations after which a run has to report, so that all intervals are met."""
    wanted = [n for n in (flags.save_every, frame_interval(flags, total)) if n]
    return math.gcd(*wanted) if wanted else None


class Interval:
    """Tells when a multiple of ``every`` has been reached since it was last asked."""

    def __init__(self, every: int, *, seen: int = 0) -> None:
        self.every, self.seen = every, seen

    def passed(self, count: int) -> bool:
        """Ask."""
        passed = count // self.every > self.seen // self.every
        self.seen = count
        return passed


class SaveEvery:
    """Saves the picture on the way, under a name with the number of evaluations."""

    def __init__(self, path: str, every: int, options: Mapping[str, Any], *, done: int = 0) -> None:
        self.path, self.interval, self.options = path, Interval(every, seen=done), options

    def __call__(self, progress: Progress) -> None:
        """Save it, if it is time."""
        if self.interval.passed(progress.total_done):
            save_image(numbered(self.path, progress.total_done), progress.image(), **self.options)

    def close(self, result: StylizeResult | None) -> None:
        """Do nothing: the last picture is the result."""


class Log:
    """Writes a line of JSON for every report; a run that goes on leaves no step twice."""

    def __init__(self, path: str) -> None:
        self.lines = JsonLines(path, "evaluations")

    def __call__(self, progress: Progress) -> None:
        """Write a line."""
        # The first report, before anything is compiled, is of what was done before.
        self.lines.add(logged(progress), done=progress.total_done)

    def close(self, result: StylizeResult | None) -> None:
        """Do nothing: every line is in the file."""


def logged(progress: Progress) -> dict[str, Any]:
    """Return what a line of the log says; a number that is not finite becomes None."""
    height, width = progress.size
    return {
        "phase": progress.phase,
        "evaluations": progress.total_done,
        "total_evaluations": progress.total,
        "scale": progress.scale + 1,
        "scales": progress.scales,
        "width": width,
        "height": height,
        "losses": {n: v if math.isfinite(v) else None for n, v in progress.losses.items()},
        "seconds": round(progress.seconds, 3),
    }


class Plot:
    """Plots the losses at the end: of every step, or those reported if the run was cut short."""

    def __init__(self, path: str) -> None:
        self.path, self.history = path, History()

    def __call__(self, progress: Progress) -> None:
        """Remember the losses."""
        self.history(progress)

    def close(self, result: StylizeResult | None) -> None:
        """Draw them."""
        losses: Mapping[str, ArrayLike] = self.history.losses
        evaluations: ArrayLike = self.history.evaluations
        # A line search takes several evaluations a step: then only what was heard is exact.
        if result is not None and len(result.losses.get("total", ())) == result.evaluations:
            losses, evaluations = result.losses, np.arange(1, result.evaluations + 1)
        if not losses:
            return
        scales = self.history.scales
        save_losses(self.path, losses, evaluations=evaluations, scales=scales)


class Animate:
    """Keeps small copies of the picture on the way, and makes an animation of them at the end."""

    def __init__(self, path: str, every: int) -> None:
        self.path, self.interval = path, Interval(every)
        self.frames: list[NDArray[np.uint8]] = []
        self.last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """Keep a frame, if it is time."""
        if not _stepped(progress):
            return
        self.last = progress
        # The first evaluation is that of the start.
        if self.interval.passed(progress.total_done) or not self.frames:
            self.frames.append(as_frame(progress.image()))
        if len(self.frames) > MOST_FRAMES:
            self.frames, self.interval.every = self.frames[::2], 2 * self.interval.every

    def close(self, result: StylizeResult | None) -> None:
        """Add the last picture and write the animation."""
        picture = _last_picture(result, self.last)
        if picture is not None:
            save_animation(self.path, [*self.frames, as_frame(picture)])


class Figure:
    """Makes a labelled figure of content, styles and result."""

    def __init__(self, path: str, content: Pixels, styles: Sequence[Pixels]) -> None:
        self.path, self.content, self.styles = path, content, list(styles)
        self.last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """Remember the picture so far."""
        if _stepped(progress):
            self.last = progress

    def close(self, result: StylizeResult | None) -> None:
        """Make the figure."""
        picture = _last_picture(result, self.last)
        if picture is None:
            return
        several = len(self.styles) > 1
        named = [("content", self.content)]
        named += [(f"style {i}" if several else "style", s) for i, s in enumerate(self.styles, 1)]
        named += [("result", picture)]
        per_row = sum(p.shape[1] / p.shape[0] for _, p in named)
        height = min(picture.shape[0], int(LONGEST / per_row))
        save_image(self.path, contact_sheet([named], height=max(1, height)))


def _stepped(progress: Progress) -> bool:
    """Tell whether a scale has a loss: its picture is the one that it began with until then."""
    return progress.phase == "optimize" and math.isfinite(progress.losses.get("total", 0.0))


def _last_picture(result: StylizeResult | None, last: Progress | None) -> Pixels | None:
    """Return the result's picture, or that of the last news; None: there is none yet."""
    if result is not None:
        return result.image
    return None if last is None else last.image()

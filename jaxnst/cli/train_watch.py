"""Who watches a training run: a bar or lines, a log, a sheet of samples, and a plot at the end."""

import argparse
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxnst.cli.errors import FAILED, complain, explain
from jaxnst.cli.logs import JsonLines
from jaxnst.cli.messages import Messages, length
from jaxnst.cli.train import Given
from jaxnst.feedforward.training import Report
from jaxnst.image import resize, save_image
from jaxnst.image.color import Pixels
from jaxnst.report.contact_sheet import contact_sheet, on_white
from jaxnst.report.plot import save_losses

SHOWN = 50
"""Steps over which the losses that are shown are averaged: those of single batches jump about."""

SURE = 5
"""Steps after which there is something to be said of the time that is left."""

POINTS = 400
"""Most points of a curve, each the mean of the steps since the one before."""

SIDE = 256
"""Of the squares on the sheet, pixels."""

Paint = Callable[[Any, ArrayLike], ArrayLike]
"""From parameters and pictures to painted ones."""


class Watch:
    """Tells all who watch. One who fails hears no more, and the training goes on.

    Attributes:
      paint: Paints pictures by parameters; to be set before the first news.
      last: The last news, or None.
      troubles: What went wrong with those who watch, a line each.
    """

    def __init__(self, flags: argparse.Namespace, given: Given, messages: Messages) -> None:
        self.paint: Paint | None = None
        self.last: Report | None = None
        self.troubles: list[str] = []
        self.display = make_display(messages)
        self.watching: list[Callable[[Report], None]] = [self.display]
        self.curves = Curves(flags.plot) if flags.plot else None
        if flags.log:
            self.watching.append(Log(flags.log))
        if self.curves:
            self.watching.append(self.curves)
        if flags.sheet and given.samples:
            self.watching.append(Samples(self, flags.sheet, flags.samples, given))

    def __call__(self, report: Report) -> None:
        """Take in the news."""
        self.last = report._replace(params=None)  # their memory is used again
        for each in tuple(self.watching):
            try:
                each(report)
            except Exception as error:
                self.watching.remove(each)
                self.troubles.append(explain(error))

    def goes_on(self, terms: Sequence[str], losses: NDArray[np.float32]) -> None:
        """Take in the losses, ``(step, terms)``, of all steps that were taken before."""
        if self.curves:
            self.curves.rows = [dict(zip(terms, row, strict=True)) for row in losses.tolist()]

    def close(self) -> None:
        """Show no more, and draw the curves."""
        self.display.close()
        if self.curves:
            try:
                self.curves.draw()
            except Exception as error:
                self.troubles.append(explain(error))
            self.curves = None

    def complain(self, prog: str, status: int) -> int:
        """Print what went wrong; return ``status``, or FAILED in place of 0."""
        for trouble in self.troubles:
            complain(prog, trouble, FAILED)
        return status or (FAILED if self.troubles else 0)


class Display:
    """Shows nothing; what the others share."""

    def __init__(self) -> None:
        self.first: tuple[int, float] | None = None
        self.rows: deque[dict[str, float]] = deque(maxlen=SHOWN)

    def __call__(self, report: Report) -> None:
        """Take in the news."""
        if self.first is None:  # what it waited for programs says nothing of what is to come
            self.first = report.step, report.seconds
        self.rows.append(report.losses)
        self.show(report)

    def text(self, report: Report) -> str:
        """Say how far it is."""
        mean = {name: np.mean([row[name] for row in self.rows]) for name in report.losses}
        total = mean.pop("total")
        losses = " + ".join(f"{name} {value:.2g}" for name, value in mean.items())
        words = f"step {report.step}/{report.steps}", f"loss {total:.3g} = {losses}"
        return ", ".join((*words, *filter(None, [self.left(report)])))

    def left(self, report: Report) -> str:
        """Write the time left, "" while nothing is known about it."""
        step, begin = self.first or (report.step, 0.0)
        if report.step < step + SURE or report.step == report.steps:
            return ""
        each = (report.seconds - begin) / (report.step - step)
        return f"{length(each * (report.steps - report.step))} left"

    def show(self, report: Report) -> None:
        """Show it."""

    def close(self) -> None:
        """Show no more."""


class Lines(Display):
    """Prints a line every few seconds."""

    def __init__(self, messages: Messages) -> None:
        super().__init__()
        self.messages = messages

    def show(self, report: Report) -> None:
        """Print a line, if it is time."""
        if len(self.rows) == 1 or report.step == report.steps:
            self.messages.say(self.text(report))
        else:
            self.messages.now_and_then(self.text(report))


class Bar(Display):
    """Draws a bar."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.bars = Progress(
            BarColumn(bar_width=None),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            expand=True,
        )
        self.task = self.bars.add_task("compiling", total=1)
        self.bars.start()

    def show(self, report: Report) -> None:
        """Redraw the bar."""
        self.bars.update(
            self.task,
            total=report.steps,
            completed=report.step,
            description=self.text(report),
        )

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bars.stop()


def make_display(messages: Messages) -> Display:
    """Choose what fits where stderr goes to."""
    if messages.quiet:
        return Display()
    dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    return Bar() if sys.stderr.isatty() and not dumb else Lines(messages)


class Log:
    """Writes a line of JSON for every step, each once, also of a run that goes on."""

    def __init__(self, path: str) -> None:
        self.lines = JsonLines(path, "step")

    def __call__(self, report: Report) -> None:
        """Write a line."""
        facts = {
            "step": report.step,
            "steps": report.steps,
            "losses": report.losses,
            "rate": report.rate,
            "seconds": round(report.seconds, 3),
        }
        self.lines.add(facts, done=report.step - 1)


class Curves:
    """Remembers losses, and draws them.

    Attributes:
      rows: Of every step from the first on.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def __call__(self, report: Report) -> None:
        """Remember them."""
        self.rows.append(report.losses)

    def draw(self) -> None:
        """Draw means of as many steps each as there have to be."""
        if not self.rows:
            return
        parts = np.array_split(np.arange(len(self.rows)), min(POINTS, len(self.rows)))
        losses = {
            name: [float(np.mean([self.rows[i][name] for i in part])) for part in parts]
            for name in self.rows[0]
        }
        steps = [int(part[-1]) + 1 for part in parts]
        save_losses(self.path, losses, evaluations=steps, count="steps")


class Samples:
    """Paints pictures that the network has not seen, on one sheet, now and then and at the end."""

    def __init__(self, watch: Watch, path: str, every: int, given: Given) -> None:
        self.watch, self.path, self.every = watch, path, every
        self.squares = np.stack([_square(picture) for picture in given.samples])
        self.style = on_white(given.style)

    def __call__(self, report: Report) -> None:
        """Paint, if it is time."""
        paint = self.watch.paint
        if paint is None or (report.step % self.every and report.step != report.steps):
            return
        painted: NDArray[np.float32] = np.asarray(paint(report.params, self.squares))
        above = [("style", self.style), *(("", square) for square in self.squares)]
        below = [(f"step {report.step}", _blank(self.style))]
        below += [("", picture) for picture in painted]
        save_image(self.path, contact_sheet([above, below], height=SIDE))


def _square(picture: Pixels) -> Pixels:
    """Cut the middle out of a picture."""
    height, width = picture.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) / 2, (width - edge) / 2
    box = top, left, top + edge, left + edge
    return np.clip(resize(picture, (SIDE, SIDE), box=box), 0, 1)


def _blank(like: Pixels) -> Pixels:
    return np.ones_like(like)

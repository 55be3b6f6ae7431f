"""How far a run is: a bar where stderr is a terminal, plain lines elsewhere."""

import os
import sys
from typing import Any

from jaxnst.cli.messages import LINE_SECONDS, Messages, shape
from jaxnst.transfer.pyramid import Schedule
from jaxnst.transfer.stylize import Progress, StylizeResult


class Display:
    """Shows nothing; what the others share.

    The work of a run is counted in evaluations times pixels, since that is what takes time.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.works = [s.evaluations * s.inner[0] * s.inner[1] for s in schedule.scales]
        self.first: tuple[float, float] | None = None
        self.closed = False

    def __call__(self, progress: Progress) -> None:
        """Take in the news of a run."""
        done = self.done(progress)
        if self.first is None and progress.phase == "optimize":
            self.first = done, progress.seconds
        if not self.closed:
            self.show(progress, done)

    def done(self, progress: Progress) -> float:
        """Return the share of the run that is done, 0 to 1."""
        share = progress.evaluations / progress.scale_evaluations
        done = sum(self.works[: progress.scale]) + share * self.works[progress.scale]
        return done / sum(self.works)

    def left(self, progress: Progress, done: float) -> str:
        """Write the time left, "" while nothing is known about it."""
        if self.first is None or done <= self.first[0] or done >= 1:
            return ""
        share, begin = self.first
        seconds = round((progress.seconds - begin) * (1 - done) / (done - share))
        return f"{seconds // 60}:{seconds % 60:02d} left"

    def show(self, progress: Progress, done: float) -> None:
        """Show it."""

    def close(self, result: StylizeResult | None = None) -> None:
        """Show nothing any more."""
        self.closed = True


class Lines(Display):
    """Prints a line when a scale begins, after every round, and every few seconds."""

    def __init__(self, schedule: Schedule, messages: Messages) -> None:
        super().__init__(schedule)
        self.messages, self.last, self.rounds = messages, 0.0, 0

    def show(self, progress: Progress, done: float) -> None:
        """Print a line, if it is time."""
        text = f"scale {progress.scale + 1}/{progress.scales}, {shape(progress.size)}: "
        over = progress.total_done >= progress.total
        if progress.phase == "compile":
            self.messages.say(text + "compiling")
        elif over or progress.rounds > self.rounds or progress.seconds - self.last >= LINE_SECONDS:
            text += f"round {progress.rounds}, " if progress.rounds > self.rounds else ""
            text += f"{progress.evaluations}/{progress.scale_evaluations} evaluations"
            words = text, _losses(progress), self.left(progress, done)
            self.messages.say(", ".join(filter(None, words)))
        else:
            return
        self.last, self.rounds = progress.seconds, progress.rounds


class Bar(Display):
    """Draws a bar over the whole run."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule)
        # Takes a tenth of a second to import: not for those who cannot see it.
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        self.bars = Bars(
            # What does not fit is cut off at the end of the line, not here.
            TextColumn("{task.description}", markup=False, table_column=Column(min_width=11)),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[text]}", markup=False),
            console=Console(stderr=True),
            expand=True,
        )
        self.task = self.bars.add_task("", total=1, text="")
        self.bars.start()

    def show(self, progress: Progress, done: float) -> None:
        """Redraw the bar."""
        words = [f"{progress.evaluations}/{progress.scale_evaluations}"]
        if progress.phase == "compile":
            words.append("compiling")
        words += [self.left(progress, done), _losses(progress)]
        self.bars.update(
            self.task,
            description=f"{progress.scale + 1}/{progress.scales} {shape(progress.size)}",
            completed=done,
            text="  ".join(filter(None, words)),
        )

    def close(self, result: StylizeResult | None = None) -> None:
        """Leave the bar as it stands."""
        super().close(result)
        self.bars.stop()


def make_display(schedule: Schedule, messages: Messages) -> Display:
    """Choose what fits where stderr goes to."""
    if messages.quiet:
        return Display(schedule)
    dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    return Bar(schedule) if sys.stderr.isatty() and not dumb else Lines(schedule, messages)


def _losses(progress: Progress) -> str:
    """Write the loss and its terms."""
    terms: dict[str, Any] = dict(progress.losses)
    if not terms:
        return ""
    total = terms.pop("total")
    return f"loss {total:.3g} = " + " + ".join(f"{name} {v:.2g}" for name, v in terms.items())

"""How far a command is: one bar where stderr is a terminal, elsewhere a line now and then."""

import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from jaxnst.cli.messages import LINE_SECONDS, Messages

BAR_WIDTH = 20
"""Columns that the bar has at least, which texts may not take from it."""

ENOUGH = 0.01
"""Share of the work after which the time left is shown."""


class ProgressBar:
    """The progress of one command. Close it before the command ends.

    If the messages are quiet, nothing is shown.
    """

    open: "ProgressBar | None" = None
    """The one that is on the screen, for a command that is stopped."""

    def __init__(self, messages: Messages) -> None:
        self.messages, self.printed = messages, time.monotonic()
        self.first: float | None = None
        self.past: deque[tuple[float, float]] = deque()
        self.bars: Any = None
        self.closed = messages.quiet
        dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
        self.drawn = sys.stderr.isatty() and not dumb

    def _start(self) -> None:
        """Draw the bar for the first time."""
        # Takes a tenth of a second to import: only where it can be seen.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.bars = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[text]}", markup=False),
            console=Console(stderr=True),
            expand=True,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),  # else it has paths
        )
        self.task = self.bars.add_task("", total=1, text="")
        self.bars.start()
        self.bars.console.show_cursor(True)  # a process that is killed would leave it hidden
        ProgressBar.open = self

    def update(
        self,
        share: int | float,
        text: str,
        more: Sequence[str] = (),
        *,
        seconds: int | float | None = None,
        timed: bool = True,
        line: bool = False,
    ) -> None:
        """Show how far the command is.

        Args:
          share: Of the work that is done, 0 to 1.
          text: What is done, such as ``12/300 evaluations``.
          more: What else there is to say, at length, shorter ...: a bar shows what fits.
          seconds: When that was; None: now.
          timed: Whether work went on since the last call, so that the time left follows from it.
          line: Whether to print a line where there is no bar, even if the last one is recent.
        """
        if self.closed:
            return
        share, seconds = min(1.0, share), time.monotonic() if seconds is None else seconds
        if timed:
            self._note(share, seconds)
            text = "  ".join(filter(None, (text, self.left(share, seconds))))
        if self.drawn:
            if self.bars is None:
                self._start()
            room = self.bars.console.width - len("100%") - BAR_WIDTH - 3 - len(text)
            fitting = [f"  {words}" for words in more if len(words) + 2 <= room]
            self.bars.update(self.task, completed=share, text=text + "".join(fitting[:1]))
        elif line or time.monotonic() - self.printed >= LINE_SECONDS:
            self.printed = time.monotonic()
            self.messages.info("  ".join([f"{share:4.0%}", text, *more[:1]]))

    def _note(self, share: int | float, seconds: int | float) -> None:
        """Keep when shares were done, of the latter half of what has been done here."""
        self.first = share if self.first is None else self.first
        self.past.append((share, seconds))
        while len(self.past) > 2 and self.past[1][0] <= (self.first + share) / 2:
            self.past.popleft()

    def left(self, share: int | float, seconds: int | float) -> str:
        """Write the time left at the pace of the latter half of what has been done; "" at first.

        The first evaluations are of the smallest size, and slow while larger ones are compiled.
        """
        if self.first is None or share - self.first < ENOUGH or share >= 1:
            return ""
        begin, start = self.past[0]
        left = round((seconds - start) * (1 - share) / (share - begin))
        hours, minutes = divmod(left // 60, 60)
        return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{left % 60:02d} left"

    def close(self) -> None:
        """Show nothing any more, and leave the bar as it is."""
        self.closed = True
        if self.bars is not None:
            self.bars.stop()
            ProgressBar.open = None

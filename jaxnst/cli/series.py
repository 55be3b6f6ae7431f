"""Inputs that are painted one after the other: a single one, or many into a folder with a log.

The next input is read while one is painted. One that fails costs only itself, and the same command
paints what is left.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jaxnst._files import name_of
from jaxnst.cli.errors import FAILED, explain, print_error
from jaxnst.cli.flags import FolderFlags
from jaxnst.cli.interrupt import GOES_ON, Stopped, exit_when_stopped, stoppable
from jaxnst.cli.manifest import Row
from jaxnst.cli.messages import Messages, length, print_path
from jaxnst.cli.outputs import report_replacing
from jaxnst.cli.progress import ProgressBar
from jaxnst.cli.results_log import ResultsLog, inputs, lock_folder

PATIENCE = 30.0
"""Seconds to wait after a stop until unfinished files have been removed."""


class Series:
    """A series of inputs.

    Args:
      rows: Input and output of each.
      folder: Of the results; None: there is a single one.
      flags: Of the command.
      messages: Where to report.

    Attributes:
      stopped: Set when the user has stopped the command.
      idle: Cleared by what paints an input if a stopped command has to wait for its end, so that
        an unfinished file is removed; set again after every input.
    """

    def __init__(
        self, rows: list[Row], folder: str | None, flags: FolderFlags, messages: Messages
    ) -> None:
        self.rows, self.folder, self.flags, self.messages = rows, folder, flags, messages
        self.stopped, self.idle = threading.Event(), threading.Event()
        self.idle.set()
        self.bar, self.done, self.count = ProgressBar(messages), 0, len(rows)

    def run(self, work: Callable[[], int]) -> int:
        """Call ``work``, which returns how many inputs failed; return the exit status."""
        messages = self.messages
        with contextlib.ExitStack() as stack:
            stack.enter_context(exit_when_stopped(messages, GOES_ON if self.folder else ""))
            if self.folder is not None:
                os.makedirs(self.folder, exist_ok=True)
                stack.enter_context(lock_folder(self.folder, (1, 1)))
            stack.enter_context(messages.warnings_as_notices())
            try:
                return FAILED if stoppable(work) else 0
            except Stopped:
                self.stopped.set()
                self.idle.wait(PATIENCE)
                raise

    def report(self, share: float = 0, text: str = "") -> None:
        """Show how far the series is.

        Args:
          share: Of the input that is being painted, 0 to 1.
          text: More on that input.
        """
        done = f"{self.done}/{self.count} inputs" if self.folder is not None else ""
        text = ", ".join(filter(None, (done, text)))
        if text:
            self.bar.update((self.done + share) / self.count, text)

    def paint(
        self,
        settings: str,
        read: Callable[[Row], Any],
        prepare: Callable[[], Callable[[Row, Any], None]],
        **facts: Any,
    ) -> int:
        """Paint what is left; return how many inputs failed.

        Args:
          settings: Digest of what decides a result beside its input.
          read: Reads an input, in another thread.
          prepare: Imports and loads what is slow; returns what paints and saves an input.
          facts: More for the log.

        Raises:
          Exception: Nothing can be painted, or the single input failed.
        """
        left, ledger, messages = self.rows, None, self.messages
        if self.folder is not None:
            ledger, rows = ResultsLog(self.folder), [(row, settings) for row in left]
            left = ledger.left(rows, overwrite=self.flags.overwrite)
            messages.info(f"inputs: {len(rows)}, of which there already: {len(rows) - len(left)}")
            if not left:
                return 0

        def read_input(row: Row) -> tuple[Any, Any]:
            """Read an input, and its digest for the log."""
            return read(row), [] if ledger is None else inputs(row)

        begin, failed = time.monotonic(), 0
        with contextlib.closing(self.bar), ThreadPoolExecutor(1, "jaxnst-read") as reader:
            following = reader.submit(read_input, left[0])
            if ledger is None:
                following.result()  # if it cannot be read, nothing slow is imported
            paint = prepare()
            if ledger is None:
                report_replacing(left[0].output, self.flags, messages)
            for i, row in enumerate(left):
                reading, start = following, time.monotonic()
                if i + 1 < len(left):
                    following = reader.submit(read_input, left[i + 1])
                if self.stopped.is_set():
                    break
                self.done, self.count = i, len(left)
                self.report()
                try:
                    source, digests = reading.result()
                    paint(row, source)
                except Exception as error:
                    if ledger is None or self.stopped.is_set():
                        raise
                    failed += 1
                    text = explain(error)
                    ledger.write(row, settings, error=text, **facts)
                    print_error(messages.prog, f"{name_of(row.output)} failed: {text}", FAILED)
                else:
                    if ledger is not None:
                        seconds = round(time.monotonic() - start, 2)
                        ledger.write(
                            row, settings, inputs=digests, seconds=seconds, error=None, **facts
                        )
                    print_path(row.output)
                finally:
                    self.idle.set()
        if ledger is not None and not self.stopped.is_set():
            total = length(time.monotonic() - begin)
            messages.info(f"done: {len(left) - failed}, failed: {failed}, in {total}")
        return failed

"""Inputs that are painted one after the other: a single one, or many into a folder with a log.

The next input is read while one is painted. One that fails costs only itself, and the same command
paints what is left.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jaxnst._checks import counted
from jaxnst._files import name_of
from jaxnst.cli.errors import FAILED, explain, print_error
from jaxnst.cli.flags import FileFlags, FolderFlags
from jaxnst.cli.interrupt import RESUMABLE, Stopped, exit_when_stopped, stoppable
from jaxnst.cli.manifest import Row
from jaxnst.cli.messages import Messages, length
from jaxnst.cli.outputs import report_replacing, save_options, save_picture
from jaxnst.cli.progress import ProgressBar
from jaxnst.cli.recording import record_of, record_to_write
from jaxnst.cli.results_log import ResultsLog, inputs, lock_folder
from jaxnst.image.color import Pixels
from jaxnst.image.record import Argument, Record, Source

if TYPE_CHECKING:
    import jax

PATIENCE = 30.0
"""Seconds to wait after a stop until unfinished files have been removed."""


@dataclass(frozen=True, kw_only=True)
class SeriesFlags(FileFlags, FolderFlags):
    """How results of a series are saved and named."""


class Series:
    """A series of inputs; a command derives from it what reads, prepares and paints.

    Without a ``folder`` there is a single result.

    Attributes:
      stopped: Set when the user has stopped the command.
      idle: Cleared by what paints an input if a stopped command has to wait for its end, so that
        an unfinished file is removed; set again after every input.
    """

    flags: SeriesFlags

    def __init__(
        self, rows: list[Row], folder: str | None, flags: SeriesFlags, messages: Messages
    ) -> None:
        self.rows, self.folder, self.flags, self.messages = rows, folder, flags, messages
        self.stopped, self.idle = threading.Event(), threading.Event()
        self.idle.set()
        self.bar, self.done, self.count = ProgressBar(messages), 0, len(rows)

    def settings(self) -> str:
        """Digest what decides a result beside its input."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Return more for every line of the log."""
        return {}

    def read(self, row: Row) -> Any:
        """Read an input, in another thread."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Import and load what is slow."""
        raise NotImplementedError

    def paint(self, row: Row, source: Any) -> None:
        """Paint and save an input."""
        raise NotImplementedError

    def run(self) -> int:
        """Paint everything; return the exit status."""
        messages = self.messages
        with contextlib.ExitStack() as stack:
            stack.enter_context(exit_when_stopped(messages, RESUMABLE if self.folder else ""))
            if self.folder is not None:
                os.makedirs(self.folder, exist_ok=True)
                stack.enter_context(lock_folder(self.folder, (1, 1)))
            stack.enter_context(messages.warnings_as_notices())
            try:
                return FAILED if stoppable(self.paint_all) else 0
            except Stopped:
                self.stopped.set()
                self.idle.wait(PATIENCE)
                raise

    def report(self, share: int | float = 0, text: str = "") -> None:
        """Show how far the series is; ``share`` of the input being painted is done, 0 to 1."""
        done = f"{self.done}/{self.count} inputs" if self.folder is not None else ""
        text = ", ".join(filter(None, (done, text)))
        whole = (self.done + share) / self.count
        if text:
            self.bar.update(whole, text)
        self.messages.event("progress", done=self.done, inputs=self.count, share=round(whole, 4))

    def save(
        self,
        row: Row,
        picture: Pixels,
        network: str,
        network_sha256: str,
        sources: Callable[[], Iterable[Source]],
        device: "jax.Device",
        **arguments: Argument,
    ) -> None:
        """Save a picture and how it was made.

        ``sources`` lists the files that it is made of; ``arguments`` are controls by name, the
        command among them.
        """
        from jaxnst.optim.sharding import threads_of

        def record() -> Record:
            files, machine = tuple(sources()), {"platform": device.platform}
            made = record_of(self.flags, network, network_sha256, files, arguments, **machine)
            return replace(made, threads=threads_of(device))

        made = record_to_write(self.flags, row.output, record, self.messages)
        save_picture(row.output, picture, record=made, **save_options(self.flags))

    def paint_all(self) -> int:
        """Paint what is left; return how many inputs failed.

        Raises:
          Exception: Nothing can be painted, or the single input failed.
        """
        left, log, messages, settings = self.rows, None, self.messages, ""
        if self.folder is not None:
            log, settings = ResultsLog(self.folder), self.settings()
            left = log.left([(row, settings) for row in left], overwrite=self.flags.overwrite)
            count = len(self.rows)
            done = f"{count - len(left)} of them already painted"
            messages.info(f"{counted(count, 'input')}, {done}")
            if not left:
                return 0

        def read(row: Row) -> tuple[Any, Any]:
            """Read an input, and its digest for the log."""
            return self.read(row), [] if log is None else inputs(row)

        begin, failed, self.count = time.monotonic(), 0, len(left)
        with contextlib.closing(self.bar), ThreadPoolExecutor(1, "jaxnst-read") as reader:
            following = reader.submit(read, left[0])
            if log is None:
                following.result()  # if it cannot be read, nothing slow is imported
            self.prepare()
            if log is None:
                report_replacing([left[0].output], self.flags, messages)
            for self.done, row in enumerate(left):
                reading, start = following, time.monotonic()
                if self.done + 1 < len(left):
                    following = reader.submit(read, left[self.done + 1])
                if self.stopped.is_set():
                    break
                self.report()
                facts, digests = self.facts(), None
                try:
                    source, digests = reading.result()
                    self.paint(row, source)
                except Exception as error:
                    if log is None or self.stopped.is_set():
                        raise
                    failed += 1
                    text = explain(error)
                    log.write(row, settings, error=text, **facts)
                    messages.event("failed", output=row.output, error=text)
                    print_error(messages.prog, f"{name_of(row.output)} failed: {text}", FAILED)
                else:
                    seconds = round(time.monotonic() - start, 2)
                    if log is not None:
                        facts |= {"inputs": digests, "seconds": seconds}
                        log.write(row, settings, error=None, **facts)
                    messages.saved(row.output, content=row.content, seconds=seconds)
                finally:
                    self.idle.set()
        if log is not None and not self.stopped.is_set():
            total = length(time.monotonic() - begin)
            messages.info(f"{counted(len(left) - failed, 'input')} in {total}, {failed} failed")
        return failed

"""Listeners to a run: progress bar, previews, log, plot, animation, figure, checkpoints.

Each is a :class:`Listener`: it receives every report of the run, and its end. One that fails gets
no more reports, and the run continues: the error is printed at the end, when the picture is saved.
"""

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxnst._checks import counted
from jaxnst._files import name_of
from jaxnst._memory import available_on_host
from jaxnst.cli.cache import MOST_BYTES, checkpoint_path, discard_oldest
from jaxnst.cli.errors import FAILED, explain, print_error
from jaxnst.cli.fetching import STREAM
from jaxnst.cli.flags import CHECKPOINT_SECONDS
from jaxnst.cli.inputs import Pictures
from jaxnst.cli.logs import JsonLines
from jaxnst.cli.messages import Messages, amount
from jaxnst.cli.outputs import numbered, save_options
from jaxnst.cli.parser import RunFlags
from jaxnst.cli.progress import ProgressBar
from jaxnst.cli.terminal import TerminalPicture
from jaxnst.image import save_image
from jaxnst.image.color import Pixels
from jaxnst.report.animation import as_frame, save_animation
from jaxnst.report.contact_sheet import LONGEST, contact_sheet
from jaxnst.report.plot import History, save_losses
from jaxnst.transfer.checkpoint import WRITING, Checkpoint, save_checkpoint
from jaxnst.transfer.fingerprint import run_digest
from jaxnst.transfer.pyramid import Schedule
from jaxnst.transfer.result import Progress, StylizeResult

FRAMES = 100
"""Most frames of an animation without ``--animate-every``."""

SLOW = 5
"""Seconds per evaluation above which a stopped run announces that it is still waiting."""

MOST_FRAMES = 300
"""Frames that are kept: more would take more memory than the run."""


class Listener:
    """Receives the reports of a run. The base class remembers the last one that has a picture.

    Until a scale has a loss, its picture is the one that it began with. It is ``resumable`` if
    ``--resume`` can continue from what it has written.
    """

    last: Progress | None = None
    resumable: bool = False

    def __call__(self, progress: Progress) -> None:
        """Receive a report."""
        if progress.phase == "optimize" and math.isfinite(progress.losses.get("total", 0.0)):
            self.last = progress

    def picture(self, result: StylizeResult | None) -> Pixels | None:
        """Return the result's picture, or that of the last report; None if there is none yet."""
        if result is not None:
            return result.image
        return None if self.last is None else self.last.image()

    def close(self, result: StylizeResult | None = None) -> None:
        """Finish; ``result`` is None if the run was stopped or failed."""


class Over(Exception):
    """The run's reports are not wanted any more."""


class Watch:
    """Passes the reports of a run to all listeners; ``troubles`` says what went wrong with them."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = list(listeners)
        self.last: Progress | None = None
        self.troubles: list[str] = []
        self.over = False
        self.lock = threading.Lock()  # a run that was stopped still reports, from its thread

    def __call__(self, progress: Progress) -> None:
        """Pass on a report.

        Raises:
          Over: After :meth:`end`; that ends the run.
        """
        with self.lock:
            if self.over:
                raise Over
            self.last = progress
            self._call(lambda listener: listener(progress))

    def end(self) -> None:
        """Refuse further reports."""
        with self.lock:
            self.over = True

    @property
    def resumable(self) -> bool:
        """Whether ``--resume`` can continue the run."""
        return any(listener.resumable for listener in self.listeners)

    def close(self, result: StylizeResult | None, prog: str) -> bool:
        """Close all listeners, print what went wrong with any, and return whether something did."""
        self.end()
        self._call(lambda listener: listener.close(result))
        for trouble in self.troubles:
            print_error(prog, trouble, FAILED)
        return bool(self.troubles)

    def _call(self, call: Callable[[Listener], None]) -> None:
        for listener in tuple(self.listeners):
            try:
                call(listener)
            except Exception as error:
                self.listeners.remove(listener)
                self.troubles.append(explain(error))


def make_listeners(
    flags: RunFlags,
    pictures: Pictures,
    messages: Messages,
    total: int,
    resume: Checkpoint | None = None,
) -> list[Listener]:
    """Make the listeners that the flags ask for, except the progress display.

    ``total`` is the number of evaluations of the run.
    """
    listeners, done = list[Listener](), 0 if resume is None else resume.done
    if flags.save_every:
        options = save_options(flags)
        listeners.append(SaveEvery(flags.output, flags.save_every, options, done=done))
    if flags.json:
        listeners.append(Events(messages))
    if flags.preview:
        in_terminal = flags.preview == STREAM
        listeners.append(TerminalPreview() if in_terminal else Preview(flags.preview))
    if flags.log:
        listeners.append(Log(flags.log))
    if flags.plot:
        listeners.append(Plot(flags.plot))
    if flags.animate and (interval := frame_interval(flags, total)):
        listeners.append(Animate(flags.animate, interval))
    if flags.side_by_side:
        listeners.append(Figure(flags.side_by_side, pictures.content, pictures.styles))
    if flags.checkpoint:
        listeners.append(Keeper(flags.checkpoint, flags.checkpoint_every, messages, resume))
    elif not flags.no_cache:
        listeners.append(CacheKeeper(messages, resume))
    return listeners


def frame_interval(flags: RunFlags, total: int) -> int | None:
    """Return the evaluations between two frames of the animation; None without one."""
    return (flags.animate_every or -(-total // FRAMES)) if flags.animate else None


def report_interval(flags: RunFlags, total: int) -> int | None:
    """Return after how many evaluations a run has to report, so that all intervals are met."""
    wanted = [n for n in (flags.save_every, frame_interval(flags, total)) if n]
    return math.gcd(*wanted) if wanted else None


class Interval:
    """Finds out whether a multiple of ``every`` has been reached since the last call."""

    def __init__(self, every: int, *, seen: int = 0) -> None:
        self.every, self.seen = every, seen

    def passed(self, count: int) -> bool:
        """Return whether the count has passed a multiple of ``every``, and remember it."""
        passed = count // self.every > self.seen // self.every
        self.seen = count
        return passed


class Display(Listener):
    """Shows how far a run is."""

    def __init__(self, schedule: Schedule, messages: Messages) -> None:
        self.schedule, self.bar, self.rounds = schedule, ProgressBar(messages), 0

    def __call__(self, progress: Progress) -> None:
        """Show a report; where there is no bar, when a scale begins and after every round too."""
        compiling, rounds = progress.phase == "compile", progress.rounds
        words = f"{progress.total_done}/{progress.total} evaluations"
        words += ", compiling" if compiling else ""
        words += f", round {rounds}" if rounds > self.rounds else ""
        self.bar.update(
            self.schedule.share(progress.scale, progress.evaluations / progress.scale_evaluations),
            words,
            _losses(progress),
            seconds=progress.seconds,
            timed=not compiling,
            line=compiling or rounds > self.rounds or progress.total_done >= progress.total,
        )
        self.rounds = rounds

    def close(self, result: StylizeResult | None = None) -> None:
        """Show nothing any more."""
        self.bar.close()


def _losses(progress: Progress) -> tuple[str, ...]:
    """Write the loss with its terms, and the loss alone."""
    terms = dict(progress.losses)
    if not terms:
        return ()
    total = f"loss {terms.pop('total'):.3g}"
    return total + " = " + " + ".join(f"{name} {v:.2g}" for name, v in terms.items()), total


class SaveEvery(Listener):
    """Saves the picture on the way, under a name with the number of evaluations."""

    def __init__(self, path: str, every: int, options: Mapping[str, Any], *, done: int = 0) -> None:
        self.path, self.interval, self.options = path, Interval(every, seen=done), options

    def __call__(self, progress: Progress) -> None:
        """Save it, if it is time."""
        if self.interval.passed(progress.total_done):
            save_image(numbered(self.path, progress.total_done), progress.image(), **self.options)


class Preview(Listener):
    """Keeps the picture so far in one file, which is replaced as a whole.

    It is written in a tenth of the run's time at most.
    """

    def __init__(self, path: str) -> None:
        self.next = 0.0
        self.show: Callable[[Pixels], object] = lambda picture: save_image(path, picture)

    def __call__(self, progress: Progress) -> None:
        """Save the picture, if it is time."""
        super().__call__(progress)
        begin = time.monotonic()
        if self.last is progress and begin >= self.next:
            self.show(progress.image())
            end = time.monotonic()
            self.next = end + 10 * (end - begin)

    def close(self, result: StylizeResult | None = None) -> None:
        """Save the last picture."""
        picture = self.picture(result)
        if picture is not None:
            self.show(picture)


class TerminalPreview(Preview):
    """Shows the picture so far in the terminal, above the progress bar."""

    def __init__(self) -> None:
        super().__init__(STREAM)
        self.show = TerminalPicture()

    def __call__(self, progress: Progress) -> None:
        """Show the picture, if it is time, and in any case the last: then the bar is closed."""
        self.next *= progress.total_done < progress.total
        super().__call__(progress)

    def close(self, result: StylizeResult | None = None) -> None:
        """Leave the last picture where it is, above all that has been printed since."""


class Log(Listener):
    """Writes a line of JSON for every report; a resumed run has no step twice."""

    def __init__(self, path: str) -> None:
        self.lines = JsonLines(path, "evaluations")

    def __call__(self, progress: Progress) -> None:
        """Write a line."""
        # The first report, before anything is compiled, is of what was done before.
        self.lines.add(_facts(progress), done=progress.total_done)


class Events(Listener):
    """Prints a line of JSON for every report."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages

    def __call__(self, progress: Progress) -> None:
        """Print a line."""
        self.messages.event("progress", **_facts(progress))


def _facts(progress: Progress) -> dict[str, Any]:
    """Return a report as it stands in the log."""
    height, width = progress.size
    return {
        "phase": progress.phase,
        "evaluations": progress.total_done,
        "total_evaluations": progress.total,
        "scale": progress.scale + 1,
        "scales": progress.scales,
        "width": width,
        "height": height,
        "losses": dict(progress.losses),
        "seconds": round(progress.seconds, 3),
    }


class Plot(Listener):
    """Plots the losses at the end: of every step, or those reported if the run was cut short."""

    def __init__(self, path: str) -> None:
        self.path, self.history = path, History()

    def __call__(self, progress: Progress) -> None:
        """Remember the losses."""
        self.history(progress)

    def close(self, result: StylizeResult | None = None) -> None:
        """Draw them."""
        losses: Mapping[str, ArrayLike] = self.history.losses
        evaluations: ArrayLike = self.history.evaluations
        # A line search takes several evaluations a step: then only reported losses are exact.
        if result is not None and len(result.losses.get("total", ())) == result.evaluations:
            losses, evaluations = result.losses, np.arange(1, result.evaluations + 1)
        if losses:
            scales = self.history.scales
            save_losses(self.path, losses, evaluations=evaluations, scales=scales)


class Animate(Listener):
    """Keeps small copies of the picture on the way, and makes an animation of them at the end."""

    def __init__(self, path: str, every: int) -> None:
        self.path, self.interval = path, Interval(every)
        self.frames: list[NDArray[np.uint8]] = []

    def __call__(self, progress: Progress) -> None:
        """Keep a frame, if it is time."""
        super().__call__(progress)
        if self.last is not progress:
            return
        # The first evaluation is that of the start.
        if self.interval.passed(progress.total_done) or not self.frames:
            self.frames.append(as_frame(progress.image()))
        if len(self.frames) > MOST_FRAMES:
            self.frames, self.interval.every = self.frames[::2], 2 * self.interval.every

    def close(self, result: StylizeResult | None = None) -> None:
        """Add the last picture and write the animation."""
        picture = self.picture(result)
        if picture is not None:
            save_animation(self.path, [*self.frames, as_frame(picture)])


class Figure(Listener):
    """Makes a labeled figure of content, styles and result."""

    def __init__(self, path: str, content: Pixels, styles: Sequence[Pixels]) -> None:
        self.path, self.content, self.styles = path, content, list(styles)

    def close(self, result: StylizeResult | None = None) -> None:
        """Make the figure."""
        picture = self.picture(result)
        if picture is None:
            return
        several = len(self.styles) > 1
        named = [("content", self.content)]
        named += [(f"style {i}" if several else "style", s) for i, s in enumerate(self.styles, 1)]
        named += [("result", picture)]
        per_row = sum(p.shape[1] / p.shape[0] for _, p in named)
        height = min(picture.shape[0], int(LONGEST / per_row))
        save_image(self.path, contact_sheet([named], height=max(1, height)))


class Keeper(Listener):
    """Writes checkpoints, at an interval in seconds and at the end.

    The checkpoint in ``resume``, from which the run resumes, loses its state when the run has that.
    """

    def __init__(
        self, path: str, seconds: int | None, messages: Messages, resume: Checkpoint | None = None
    ) -> None:
        self.path, self.messages, self.resume = path, messages, resume
        self.seconds = CHECKPOINT_SECONDS if seconds is None else seconds
        self.next = time.monotonic() + self.seconds

    def __call__(self, progress: Progress) -> None:
        """Write a checkpoint, if it is time; if that fails, the run continues."""
        if self.last is None and self.resume is not None:  # which is known to be of this run by now
            after = f"after {counted(self.resume.done, 'evaluation')}"
            self.messages.notice(f"resuming from {name_of(self.path)}, {after}")
            self.resume.state.clear()  # else it would take memory to the end
        self.last, begin = progress, time.monotonic()
        if begin < self.next:
            return
        try:
            self._save(progress)
        except OSError as error:
            self.messages.notice(explain(error))
        end = time.monotonic()
        self.next = end + max(self.seconds, (end - begin) / WRITING)

    def close(self, result: StylizeResult | None = None) -> None:
        """Write the last checkpoint; that of a run that was stopped, after the current evaluation.

        Raises:
          OSError: It cannot be written; an earlier one is unchanged.
        """
        last = self.last
        if last is None or last.total_done == 0:
            return
        if result is None and last.seconds > SLOW * last.total_done:
            self.messages.info(
                "waiting for the end of the evaluation to save the checkpoint; Ctrl-C ends it now"
            )
        self._save(last)

    def _save(self, progress: Progress) -> None:
        """Write a checkpoint, unless no step so far had a finite loss: then nothing has moved."""
        checkpoint = progress.checkpoint()
        if not checkpoint.losses.size or np.any(np.isfinite(checkpoint.losses[:, 0])):
            self._write(checkpoint)

    def _write(self, checkpoint: Checkpoint) -> None:
        save_checkpoint(self.path, checkpoint)


class CacheKeeper(Keeper):
    """Keeps the checkpoint of a run in the user's cache folder, for ``--resume``.

    At the end of a run that has taken less than a minute it is deleted. Where it cannot be kept, a
    notice says so, once.
    """

    def __init__(self, messages: Messages, resume: Checkpoint | None) -> None:
        super().__init__("the cache", None, messages, resume)
        self.refused = False
        if resume is not None:
            self.path, self.resumable = _kept_path(resume), True

    def close(self, result: StylizeResult | None = None) -> None:
        """Write the last checkpoint, or delete it."""
        if result is None or (self.last is not None and self.last.seconds >= CHECKPOINT_SECONDS):
            super().close(result)
        elif self.last is not None and self.resumable:
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def _save(self, progress: Progress) -> None:
        try:
            _refuse_too_large(progress.checkpoint_bytes)
            with contextlib.suppress(ValueError):  # it failed in a step: an earlier one is left
                super()._save(progress)
        except OSError as error:
            if not self.refused:
                self.messages.notice(f"--resume will not work for this run: {explain(error)}")
            self.refused = True

    def _write(self, checkpoint: Checkpoint) -> None:
        self.path = _kept_path(checkpoint)
        # Private: it holds the user's picture.
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        super()._write(checkpoint)
        self.resumable = True
        discard_oldest(self.path)


def _kept_path(checkpoint: Checkpoint) -> str:
    return str(checkpoint_path(run_digest(checkpoint.settings)))


def _refuse_too_large(count: int) -> None:
    """Refuse a checkpoint of that many bytes if it does not fit in the cache folder or in memory.

    Raises:
      OSError: It does not fit.
    """
    available = available_on_host()
    if count > MOST_BYTES:
        raise OSError(
            f"its state is {amount(count)}, more than the {amount(MOST_BYTES)} that the cache "
            "folder keeps: give --checkpoint FILE"
        )
    if available is not None and count > available:  # a copy, where the run is on an accelerator
        raise OSError(
            f"that takes {amount(count)} of memory, and {amount(available)} are available"
        )

"""Paint: run the transfer, show how far it is, save what comes out, also of a run cut short."""

import os
import sys
from contextlib import closing
from typing import NoReturn

from jaxnst._version import __version__
from jaxnst.cli.errors import FAILED, STOPPED, complain, explain, leave
from jaxnst.cli.job import Job, tell_of_method
from jaxnst.cli.messages import Messages, length, shape
from jaxnst.cli.progress import Display, make_display
from jaxnst.cli.saving import print_path, save_picture
from jaxnst.cli.stopping import Stopped, stoppable
from jaxnst.image import save_image
from jaxnst.transfer import Progress, StylizeResult, stylize


class Watch:
    """Listens to a run: shows its progress, saves pictures on the way, remembers the last news."""

    def __init__(self, display: Display, output: str, every: int | None) -> None:
        self.display, self.output, self.every = display, output, every
        self.last: Progress | None = None
        self.saved = 0

    def __call__(self, progress: Progress) -> None:
        """Take in the news."""
        self.last = progress
        self.display(progress)
        count = progress.total_done
        if self.every and count // self.every > self.saved // self.every:
            save_image(numbered(self.output, count), progress.image())
            self.saved = count


def numbered(path: str, count: int) -> str:
    """Put a number before the ending.

    Example:
      >>> numbered("folder/out.png", 50)
      'folder/out-0050.png'
    """
    stem, ending = os.path.splitext(path)
    return f"{stem}-{count:04d}{ending}"


def paint(job: Job, messages: Messages) -> int:
    """Run a job, save its picture and print the picture's path."""
    _greet(job, messages)
    flags, schedule = job.flags, job.plan().schedule
    with closing(make_display(schedule, messages)) as display:
        watch = Watch(display, flags.output, flags.save_every)

        def work() -> StylizeResult:
            return stylize(
                job.pictures.content,
                job.pictures.styles,
                network=job.network,
                recipe=job.recipe,
                size=flags.size,
                style_size=flags.style_size,
                style_mix=job.style_mix,
                masks=job.pictures.masks,
                style_masks=job.pictures.style_masks,
                init=job.pictures.init,
                seed=flags.seed,
                callback=watch,
                every=flags.save_every,
                remat=job.remat,
            )

        try:
            result = stoppable(work)
        except Stopped as stop:
            display.close()
            _end_early(stop, watch, messages)
    save_picture(flags.output, result.image)
    messages.say(_summary(result))
    if flags.timings:
        print(timings(result), file=sys.stderr)
    print_path(flags.output)
    return 0


def _greet(job: Job, messages: Messages) -> None:
    messages.say(f"jaxnst {__version__}: {job}")
    tell_of_method(job.recipe, job.network, messages)
    schedule = job.plan().schedule
    total = sum(scale.evaluations for scale in schedule.scales)
    sizes = ", ".join(shape(scale.inner) for scale in schedule.scales)
    messages.say(
        f"{shape(schedule.size)} pixels, {total} evaluations at {sizes}; compiling takes a moment, "
        "most of all the first time"
    )


def _summary(result: StylizeResult) -> str:
    text = (
        f"{result.evaluations} evaluations in {length(result.run_seconds)}, waited "
        f"{length(result.compile_seconds)} for programs"
    )
    return text + (f", {result.restarts} steps taken back" if result.restarts else "")


def timings(result: StylizeResult) -> str:
    """Write how long every scale took, a line each."""
    lines = [("scale", "pixels", "waited", "ran", "evaluations", "each")]
    for number, t in enumerate(result.timings, 1):
        each = 1000 * t.run_seconds / max(1, t.evaluations)
        waited, ran = f"{t.compile_seconds:.2f} s", f"{t.run_seconds:.2f} s"
        lines.append(
            (str(number), shape(t.size), waited, ran, str(t.evaluations), f"{each:.1f} ms")
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{text:>{w}}" for text, w in zip(line, widths, strict=True)) for line in lines
    )


def _end_early(stop: Stopped, watch: Watch, messages: Messages) -> NoReturn:
    """Save the picture so far and end the process."""
    last = watch.last
    try:
        if last is None or last.total_done == 0:
            messages.say(f"{messages.prog}: stopped before the first step, nothing is saved")
        else:
            messages.say(
                f"{messages.prog}: stopped after {last.total_done} of {last.total} evaluations, "
                "saving the picture so far"
            )
            save_picture(watch.output, last.image())
            print_path(watch.output)
        leave(stop.status)
    except KeyboardInterrupt:
        leave(complain(messages.prog, "stopped again, the picture so far is not saved", STOPPED))
    except Exception as error:
        leave(complain(messages.prog, explain(error), FAILED))

"""Paint: run the transfer, show how far it is, save what comes out, also of a run cut short."""

import os
import sys
from contextlib import closing
from typing import NoReturn

from jaxnst._files import name_of
from jaxnst._version import __version__
from jaxnst.cli.errors import FAILED, STOPPED, complain, explain, leave
from jaxnst.cli.fetching import STREAM
from jaxnst.cli.interrupt import Stopped, finishing, stoppable
from jaxnst.cli.job import Job, tell_of_method
from jaxnst.cli.messages import Messages, length, shape
from jaxnst.cli.outputs import is_taken, numbered, tell_of_replacing
from jaxnst.cli.progress import make_display
from jaxnst.cli.resuming import Keeper, checkpoint_of
from jaxnst.cli.saving import hand_over
from jaxnst.cli.watching import Watch, make_listeners, report_interval
from jaxnst.image.record import Record
from jaxnst.transfer.checkpoint import Checkpoint
from jaxnst.transfer.fingerprint import OtherSettings
from jaxnst.transfer.stylize import StylizeResult, stylize


def paint(job: Job, messages: Messages, record: Record | None) -> int:
    """Run a job, hand over its picture, then write what else was asked for.

    Args:
      job: The run.
      messages: Where to report.
      record: How it is made, for the finished picture's file; None: it is not to say so.
    """
    flags = job.flags
    resume = checkpoint_of(flags.checkpoint)
    tell_of_replacing(flags.output, flags, messages)
    _greet(job, messages)
    try:
        return _paint(job, messages, record, resume)
    except OtherSettings as error:
        if not flags.overwrite:
            raise ValueError(f"{error}, or replace this one by --overwrite") from error
    messages.notice(f"{name_of(flags.checkpoint)} is of a run with other settings: it is replaced")
    return _paint(job, messages, record, None)


def _paint(job: Job, messages: Messages, record: Record | None, resume: Checkpoint | None) -> int:
    """Run a job from its beginning, or from a checkpoint.

    Raises:
      OtherSettings: The checkpoint is of another run; nothing has been done.
    """
    flags, schedule = job.flags, job.plan().schedule
    total = sum(scale.evaluations for scale in schedule.scales)
    done = 0 if resume is None else resume.done
    output = flags.output
    if output != STREAM and is_taken(output):
        output = None  # what is cut short does not replace what is finished
    listeners = make_listeners(flags, job.pictures, total, done=done)
    if flags.checkpoint:
        listeners.append(Keeper(flags.checkpoint, flags.checkpoint_every, messages, done=done))
    with closing(make_display(schedule, messages)) as display:
        watch = Watch([display, *listeners])

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
                every=report_interval(flags, total),
                remat=job.remat,
                resume=resume,
            )

        try:
            result = stoppable(work)
        except Stopped as stop:
            display.close()
            _end_early(stop, watch, job, messages, output)
        except Exception:
            _close(watch, messages, FAILED)
            raise
    with finishing():
        try:
            hand_over(flags, result.image, record=record)
            messages.say(_summary(result, done))
            if flags.timings and done < result.evaluations:
                print(timings(result), file=sys.stderr)
        finally:
            watch.close(result)
            status = watch.complain(messages.prog, 0)
    return status


def _close(watch: Watch, messages: Messages, status: int) -> int:
    """Have what there is written beside the picture, and tell of what cannot be."""
    watch.close(None)
    return watch.complain(messages.prog, status)


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


def _summary(result: StylizeResult, done: int) -> str:
    """Say what a run took, of which some evaluations may have been done in an earlier process."""
    if done == result.evaluations:
        return f"the checkpoint is finished, after {done} evaluations: nothing was left to do"
    earlier = f", {done} of them earlier," if done else ""
    text = (
        f"{result.evaluations} evaluations{earlier} in {length(result.run_seconds)}, waited "
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


def _end_early(
    stop: Stopped, watch: Watch, job: Job, messages: Messages, output: str | None
) -> NoReturn:
    """Save the picture so far, and what else was asked for, and end the process.

    Args:
      stop: Why it ends.
      watch: What has listened.
      job: The run.
      messages: Where to report.
      output: Where the picture goes; None: beside what is there by the name of the result.
    """
    left = "the picture so far is not saved"
    try:
        watch.end()
        try:
            _save_so_far(watch, job, messages, output)
        except Exception:
            _close(watch, messages, FAILED)
            raise
        left = "the picture so far is saved, what was to be written beside it is not"
        leave(_close(watch, messages, stop.status))
    except KeyboardInterrupt:
        leave(complain(messages.prog, f"stopped again, {left}", STOPPED))
    except Exception as error:
        leave(complain(messages.prog, explain(error), FAILED))


def _save_so_far(watch: Watch, job: Job, messages: Messages, output: str | None) -> None:
    last = watch.last
    if last is None or last.total_done == 0:
        messages.say(f"{messages.prog}: stopped before the first step, nothing is saved")
        return
    where = ""
    if output is None:
        output = numbered(job.flags.output, last.total_done)
        while os.path.lexists(output):
            output = numbered(output, last.total_done)
        where = f" as {name_of(output)}, since {name_of(job.flags.output)} was there before"
    messages.say(
        f"{messages.prog}: stopped after {last.total_done} of {last.total} evaluations, "
        f"saving the picture so far{where}"
    )
    hand_over(job.flags, last.image(), output=output)

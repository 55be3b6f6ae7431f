"""A single run: a job bundles its flags, recipe, pictures, device and network, and is then painted.

:func:`make_job` checks what can be checked before anything is compiled. :func:`paint` runs the
transfer and saves the result, even if the run is cut short.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

import jax

from jaxnst._checks import counted
from jaxnst._files import name_of
from jaxnst._memory import available_memory
from jaxnst._version import __version__
from jaxnst.cli.cache import checkpoint_path
from jaxnst.cli.device import describe, devices_beside, use_device
from jaxnst.cli.errors import (
    FAILED,
    STOPPED,
    UsageError,
    blaming_flags,
    explain,
    leave,
    print_error,
)
from jaxnst.cli.fetching import STREAM
from jaxnst.cli.inputs import Pictures, distinct_names, file_name
from jaxnst.cli.interrupt import Stopped, finishing, stoppable
from jaxnst.cli.loading import load_for
from jaxnst.cli.messages import Messages, length, shape
from jaxnst.cli.outputs import hand_over, is_taken, numbered, report_replacing, result_name
from jaxnst.cli.parser import RunFlags
from jaxnst.cli.recording import record_of, record_to_write, suggestions
from jaxnst.cli.watching import Display, Watch, make_listeners, report_interval
from jaxnst.image.record import Record, parameters_sha256
from jaxnst.losses.objective import make_objective
from jaxnst.networks import LossNetwork
from jaxnst.optim.sharding import threads_of
from jaxnst.optim.solvers import make_solver
from jaxnst.recipes import STAND_IN, is_approximation
from jaxnst.recipes.schema import ONE_PASS, SHIPPED, Recipe
from jaxnst.transfer.change import change_words
from jaxnst.transfer.checkpoint import Checkpoint, load_checkpoint
from jaxnst.transfer.fingerprint import (
    OtherSettings,
    check_same_run,
    planned_evaluations,
    run_digest,
    with_evaluations,
)
from jaxnst.transfer.guidance import Guidance, make_guidance
from jaxnst.transfer.memory import Plan, make_plan, runs_that_fit
from jaxnst.transfer.pyramid import Schedule
from jaxnst.transfer.result import StylizeResult
from jaxnst.transfer.run import make_run
from jaxnst.transfer.style_cache import StyleImage
from jaxnst.transfer.stylize import stylize

RESUMING = "to resume, run the same command with --resume"


@dataclass(frozen=True)
class Job:
    """A run before it begins.

    With ``remat`` feature maps are recomputed for the gradient, to save memory. ``tile`` is the
    longest side of the tiles in which it is computed, pixels; None: no tiles. ``loop`` is how many
    bytes XLA reports for its largest loop; None: it was not asked.
    """

    flags: RunFlags
    recipe: Recipe
    pictures: Pictures
    device: jax.Device
    network: LossNetwork
    guidance: Guidance
    remat: bool = False
    tile: int | None = None
    loop: int | None = None

    def plan(self) -> Plan:
        """Work out its scales, memory and arithmetic."""
        flags, pictures = self.flags, self.pictures
        return make_plan(
            pictures.schedule(self.recipe, flags.size, flags.style_size),
            self.recipe,
            self.network,
            pictures=pictures.bytes,
            reading=pictures.reading,
            host=self.device.platform == "cpu",
            remat=self.remat,
            tile=self.tile,
            loop=self.loop,
            devices=len(self.devices),
        )

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of :func:`jaxnst.stylize` beside pictures, network and recipe."""
        flags, pictures = self.flags, self.pictures
        return {
            "size": flags.size,
            "style_size": flags.style_size,
            "style_mix": flags.mixture,
            "masks": pictures.masks,
            "style_masks": pictures.style_masks,
            "init": pictures.init,
            "seed": flags.seed,
            "remat": self.remat,
            "tile": self.tile,
            "devices": self.devices,
        }

    def settings(self) -> dict[str, str]:
        """List all that decides its picture, by name, as its checkpoints do."""
        pictures = StyleImage(self.pictures.content), list(map(StyleImage, self.pictures.styles))
        run = make_run(*pictures, self.network, self.recipe, **self.options)
        return run.settings | change_words(self.pictures.changes)

    @property
    def devices(self) -> list[jax.Device]:
        """The devices that a batch of such runs is divided between."""
        return devices_beside(self.device, self.flags.device)

    def at_once(self) -> int | None:
        """Return how many such runs fit into memory side by side; None if unknown."""
        return runs_side_by_side(
            self.plan().schedule,
            self.recipe,
            self.network,
            self.devices,
            memory_of_each(self.devices, self.flags.max_memory),
            remat=self.remat,
            shared=self.pictures.bytes,
        )

    @property
    def limit(self) -> int | None:
        """Bytes that it may take: ``--max-memory``, else what is available on its device."""
        allowed = self.flags.max_memory
        return available_memory(self.device) if allowed is None else allowed

    @property
    def recipe_name(self) -> str:
        """Its recipe's name, and whether it is only an approximation of that."""
        return self.recipe.name + " (an approximation)" * is_approximation(self.recipe)

    def record(self) -> Record:
        """Describe how its picture is made."""
        recipe, sources = self.recipe, self.pictures.sources
        start = [source.name for source in sources if source.role == "init"]
        return record_of(
            self.flags,
            self.network.name,
            parameters_sha256(self.network.params),
            sources,
            recipe=replace(recipe, init=start[0]) if start else recipe,
            seed=self.flags.seed,
            remat=self.remat,
            tile=self.tile,
            platform=self.device.platform,
            threads=threads_of(self.device),
            changes=self.flags.changes,
        )

    def headline(self, detail: str = "") -> str:
        """Say what is painted, and on what."""
        styles = [*distinct_names(self.flags.styles).values()]
        manner = " and ".join(filter(None, (", ".join(styles[:-1]), styles[-1])))
        return (
            f"Painting {file_name(self.flags.content)} in the manner of {manner}, "
            f"{shape(self.plan().schedule.size)}, {detail}{self.network.name} on "
            f"{describe(self.device)}"
        )


def memory_of_each(devices: Sequence[jax.Device], allowed: int | None) -> int | None:
    """Return the bytes that may be taken of each device: those allowed, or available; or None."""
    limits = [allowed or available_memory(device) for device in devices]
    return None if None in limits else min(n for n in limits if n is not None)


def runs_side_by_side(
    schedule: Schedule,
    recipe: Recipe,
    network: LossNetwork,
    devices: Sequence[jax.Device],
    memory: int | None,
    **more: Any,
) -> int | None:
    """Return how many runs of one kind fit into the memory of devices; None if unknown.

    ``memory`` is that of each device, or all memory of a host, bytes. ``more`` can be ``remat``,
    ``pictures`` and ``shared`` of :func:`jaxnst.transfer.memory.runs_that_fit`.
    """
    host = devices[0].platform == "cpu"
    count = runs_that_fit(schedule, recipe, network, memory, host=host, **more)
    # Virtual devices of a host share its memory.
    return count if count is None or host else count * len(devices)


def make_job(flags: RunFlags, recipe: Recipe, pictures: Pictures) -> Job:
    """Choose the device and load the network.

    Raises:
      UsageError: The device, the network or a name in the recipe does not exist, or the mixture
        does not go with styles, masks or layers.
      OSError: If the network's parameters cannot be read.
      ValueError: If they are damaged, or those of another network; or masks do not go with the
        pictures.
    """
    device, network = open_network(flags, recipe)
    lay_out = partial(
        make_guidance,
        StyleImage(pictures.content),
        [StyleImage(style) for style in pictures.styles],
        masks=pictures.masks,
        style_masks=pictures.style_masks,
    )
    lay_out()  # what is wrong without a mixture is wrong with the pictures
    with blaming_flags():
        styles, guidance = lay_out(style_mix=flags.mixture)
        objective = make_objective(recipe, network)
        guidance.mixture(objective.network, objective.style_layers, len(styles))
    return Job(flags, recipe, pictures, device, network, guidance, tile=wanted_tile(flags))


def wanted_tile(flags: RunFlags) -> int | None:
    """Return the tiles that the flags ask for; None: none, or those that memory asks for."""
    return flags.tile if isinstance(flags.tile, int) else None


def open_network(flags: RunFlags, recipe: Recipe) -> tuple[jax.Device, LossNetwork]:
    """Choose the device and load the recipe's network, as the flags say.

    Raises:
      UsageError: If there is no such device, network, layer, statistic, distance or solver, or a
        statistic does not go with a distance.
      OSError: If the network's parameters cannot be read.
      ValueError: If they are damaged, or those of another network.
    """
    name = flags.network or recipe.network
    if name == ONE_PASS:
        raise UsageError(f"{name} is only for jaxnst instant: use --network {SHIPPED}")
    device = use_device(flags.device, deterministic=flags.deterministic)
    layers = [layer for layer, _ in (*recipe.content.layers, *recipe.style.layers)]
    network = load_for(
        name,
        layers,
        flags,
        why=""
        if name == recipe.network
        else f", which the recipe {recipe.name} for {recipe.network} needs: give --content-layers "
        "and --style-layers",
        instead=f"; --network {STAND_IN} approximates it" if recipe.approximation else "",
    )
    with blaming_flags():  # what they name has to exist
        make_objective(recipe, network, tile=wanted_tile(flags))
        make_solver(recipe)
    return device, network


def report_method(recipe: Recipe, network: LossNetwork, messages: Messages) -> None:
    """Give notice of what differs from what a recipe's name promises."""
    if is_approximation(recipe):
        messages.notice(
            f"{network.name} takes the place of the network of {recipe.name}: the picture is only "
            "an approximation"
        )
    if recipe.unit_means and not network.unit_means:
        messages.notice(
            f"each filter of {network.name} is rescaled to a mean activation of 1 over your "
            f"pictures, as the weights of {recipe.name} assume"
        )


def paint(job: Job, messages: Messages, begin: float) -> int:
    """Run a job, save its picture, then write what else was asked for; return the exit status.

    ``begin`` is when the command began, by :func:`time.perf_counter`.
    """
    flags, resume = job.flags, None
    if flags.resume:
        job, resume = resumed(job, messages)
    elif flags.checkpoint and os.path.exists(flags.checkpoint):
        resume = load_checkpoint(flags.checkpoint)
    schedule = job.plan().schedule
    name = result_name(flags.output, flags.format)
    record = record_to_write(flags, name, job.record, messages)
    report_replacing([flags.output], flags, messages)
    messages.info(job.headline())
    report_method(job.recipe, job.network, messages)
    messages.info(
        f"jaxnst {__version__}, recipe {job.recipe_name}, "
        f"{counted(sum(scale.evaluations for scale in schedule.scales), 'evaluation')}; compiling "
        "takes a moment, especially the first time"
    )
    try:
        return _paint(job, schedule, messages, record, resume, begin)
    except OtherSettings as error:
        if not flags.overwrite:
            raise ValueError(f"{error}, or add --overwrite to replace it") from error
    name = name_of(flags.checkpoint or "")
    messages.notice(f"{name} is from a run with other settings: it is replaced")
    return _paint(job, schedule, messages, record, None, begin)


def resumed(job: Job, messages: Messages) -> tuple[Job, Checkpoint]:
    """Return what ``--resume`` continues: the job, and the checkpoint of the same settings.

    More ``--steps`` than the checkpoint's run had are all given to the job's last scale.

    Raises:
      FileNotFoundError: There is no checkpoint.
      OSError: It cannot be read.
      ValueError: It is damaged, or of other settings or more evaluations.
    """
    settings = job.settings()
    path = job.flags.checkpoint or checkpoint_path(run_digest(settings))
    if not os.path.exists(path):
        what = "the cache has no checkpoint of a run with these pictures and settings"
        if job.flags.checkpoint:
            what = f"{name_of(path)} does not exist"
        raise FileNotFoundError(
            f"--resume: {what}: repeat the command that was stopped, or leave out --resume to "
            "start over"
        )
    checkpoint = load_checkpoint(path)
    before, counts = planned_evaluations(checkpoint.settings), planned_evaluations(settings)
    if sum(counts) < sum(before):
        raise ValueError(
            f"--resume: the checkpoint is from a run of {sum(before)} evaluations, this one has "
            f"{sum(counts)}: give --steps {sum(before)} or more, or leave out --resume to start "
            "over"
        )
    extended = counts
    if job.recipe.scales.steps and len(before) == len(counts):
        extended = (*before[:-1], sum(counts) - sum(before[:-1]))
        checkpoint = checkpoint._replace(settings=with_evaluations(checkpoint.settings, extended))
        settings = with_evaluations(settings, extended)
    check_same_run(checkpoint.settings, settings, instead="leave out --resume to start over")
    if extended != before:
        messages.notice(f"the last scale has {extended[-1]} evaluations now, {before[-1]} before")
    if extended != counts:  # else the record is that of a run that never stopped
        scales = replace(job.recipe.scales, evaluations=extended, steps=None)
        job = replace(job, recipe=replace(job.recipe, scales=scales))
    return job, checkpoint


def _paint(
    job: Job,
    schedule: Schedule,
    messages: Messages,
    record: Record | None,
    resume: Checkpoint | None,
    begin: float,
) -> int:
    """Run a job from its beginning, or from a checkpoint.

    Raises:
      OtherSettings: The checkpoint is of another run; nothing has been done.
    """
    flags, pictures = job.flags, job.pictures
    total = sum(scale.evaluations for scale in schedule.scales)
    done = 0 if resume is None else resume.done
    listeners = make_listeners(flags, pictures, messages, total, resume)
    with closing(Display(schedule, messages)) as display:
        watch = Watch([display, *listeners])
        work = partial(
            stylize,
            pictures.content,
            pictures.styles,
            network=job.network,
            recipe=job.recipe,
            callback=watch,
            every=report_interval(flags, total),
            resume=resume,
            changes=pictures.changes,
            **job.options,
        )
        try:
            result = stoppable(work)
        except Stopped as stop:
            display.close()
            _end_early(stop, watch, flags, messages, record, begin)
        except Exception as error:
            watch.close(None, messages.prog)
            if watch.resumable:
                raise ValueError(f"{explain(error)}; {RESUMING}") from error
            raise
    with finishing():
        try:
            losses = {name: float(values[-1]) for name, values in result.losses.items()}
            facts = _facts(losses, result.evaluations, begin, stopped=False)
            hand_over(flags, result.image, messages, record=record, **facts)
            messages.info(_summary(flags, result, resume, time.perf_counter() - begin))
            size = result.image.shape[0], result.image.shape[1]
            for text in suggestions(job, record, size, messages.prog) if record else ():
                messages.info(text)
            if not messages.json:
                messages.info(f"not what you wanted? {messages.prog} --tips")
            if flags.timings and done < result.evaluations:
                print(_timings(result), file=sys.stderr)
        finally:
            failed = watch.close(result, messages.prog)
    return FAILED if failed else 0


def _summary(
    flags: RunFlags, result: StylizeResult, resume: Checkpoint | None, seconds: float
) -> str:
    """Write where the result is and how long it took, from the command's first second."""
    done, compiling = 0, result.compile_seconds
    if resume is not None:
        done, compiling = resume.done, compiling - sum(waited for waited, _ in resume.seconds)
    if done == result.evaluations:
        after = f"after {counted(done, 'evaluation')}"
        return f"the run of the checkpoint has already finished, {after}"
    where = "wrote the picture" if flags.output == STREAM else f"saved {name_of(flags.output)}"
    text = (
        f"{where} after {length(seconds)}, of which {length(compiling)} compiling; "
        f"{counted(result.evaluations, 'evaluation')}"
    )
    text += f", {done} of them earlier" if done else ""
    return text + (f", {counted(result.restarts, 'step')} taken back" if result.restarts else "")


def _timings(result: StylizeResult) -> str:
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


def _facts(
    losses: Mapping[str, float], evaluations: int, begin: float, *, stopped: bool
) -> dict[str, Any]:
    """Describe a result for ``--json``."""
    seconds = round(time.perf_counter() - begin, 2)
    return {"losses": losses, "evaluations": evaluations, "seconds": seconds, "stopped": stopped}


def _end_early(
    stop: Stopped,
    watch: Watch,
    flags: RunFlags,
    messages: Messages,
    record: Record | None,
    begin: float,
) -> NoReturn:
    """Save the picture so far, and what else was asked for, and end the process."""
    left = "the picture so far is not saved"
    try:
        watch.end()
        try:
            _save_so_far(watch, flags, messages, record, begin)
        except Exception:
            watch.close(None, messages.prog)
            raise
        left = "the picture so far is saved, but not the other files"
        watch.close(None, messages.prog)
        if watch.resumable:
            messages.info(f"{messages.prog}: {RESUMING}")
        leave(stop.status)
    except KeyboardInterrupt:
        leave(print_error(messages.prog, f"stopped again, {left}", STOPPED))
    except Exception as error:
        text = explain(error) + f"; {RESUMING}" * watch.resumable
        leave(print_error(messages.prog, text, FAILED))


def _save_so_far(
    watch: Watch, flags: RunFlags, messages: Messages, record: Record | None, begin: float
) -> None:
    """Save the picture of the last report; it does not replace an older, finished one."""
    last, output, where = watch.last, flags.output, ""
    if last is None or last.total_done == 0:
        messages.info(f"{messages.prog}: stopped before the first step, so nothing is saved")
        return
    if output != STREAM and is_taken(output):
        while os.path.lexists(output):
            output = numbered(output, last.total_done)
        where = f" as {name_of(output)}, since {name_of(flags.output)} already existed"
    messages.info(
        f"{messages.prog}: stopped after {last.total_done} of {last.total} evaluations, "
        f"saving the picture so far{where}"
    )
    if record is not None:
        arguments = {**record.arguments, "stopped-after": last.total_done}
        record = replace(record, arguments=arguments)
    facts = _facts(last.losses, last.total_done, begin, stopped=True)
    hand_over(flags, last.image(), messages, record=record, output=output, **facts)

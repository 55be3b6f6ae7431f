"""The work of ``jaxnst train``: train the network, show progress, and save the result."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shlex
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst._checks import counted
from jaxnst._files import digest_of, name_of
from jaxnst._version import __version__
from jaxnst.cli.device import describe, devices_beside, keep_programs, use_device
from jaxnst.cli.errors import FAILED, UsageError, blaming_flags, explain, leave, print_error
from jaxnst.cli.interrupt import Stopped, finishing, stoppable
from jaxnst.cli.loading import load_for
from jaxnst.cli.logs import JsonLines
from jaxnst.cli.messages import Messages, length
from jaxnst.cli.outputs import is_taken, keep_elsewhere
from jaxnst.cli.results_log import locked
from jaxnst.cli.train import Inputs, TrainFlags
from jaxnst.feedforward.checkpoints import Checkpoint, Checkpoints, TrainState
from jaxnst.feedforward.crops import batches
from jaxnst.feedforward.models import Model, load_model, painted, save_model
from jaxnst.feedforward.perceptual import make_loss
from jaxnst.feedforward.training import Report, Trained, initial_parameters, train
from jaxnst.feedforward.transformer import TransformationNetwork
from jaxnst.image import resize, save_image
from jaxnst.image.color import Pixels
from jaxnst.image.record import parameters_sha256
from jaxnst.optim.sharding import mesh_of
from jaxnst.report.contact_sheet import contact_sheet, on_white
from jaxnst.report.plot import save_losses
from jaxnst.transfer.fingerprint import (
    DIGEST,
    OtherSettings,
    network_words,
    recipe_words,
    surroundings,
)
from jaxnst.weights import read_parameters

MAX_WORKERS = 4

AVERAGED = 100
"""Number of last steps whose average losses are written to the model's file."""

WIDTHS = (16, 32, 64)
"""Channels of the network that is trained, by default."""

OUT_FACTOR = 0.1
"""Factor of the initial last kernel: with He's own values the tanh of the output is saturated."""

SHOWN = 50
"""Steps over which the displayed losses are averaged: those of single batches vary widely."""

ESTIMATED_AFTER = 5
"""Steps after which the remaining time is estimated."""

POINTS = 400
"""Most points of a curve, each the mean of the steps since the one before."""

SIDE = 256
"""Side of the squares on the sheet, pixels."""


class Finished(Exception):
    """The network is already trained."""


def train_style(flags: TrainFlags, inputs: Inputs, messages: Messages) -> int:
    """Train, and save the network, even if the run is stopped; return the exit status."""
    prog, status = messages.prog, 0
    stop = threading.Event()  # makes the run end after the current step
    try:
        busy = OSError(
            f"another training run is using {name_of(flags.checkpoint)}: wait for it, or give "
            "another --checkpoint"
        )
        with locked(flags.lock, busy), contextlib.closing(Watch(flags, messages)) as watch:
            running = ThreadPoolExecutor(1).submit(_train, flags, inputs, watch, stop, messages)
            try:
                stoppable(running.result)
            except Stopped as stopped:
                if watch.last is None and not inputs.has_begun:
                    raise
                status = stopped.status
                stop.set()
                messages.info(f"{prog}: stopping after this step; a second Ctrl-C stops at once")
            trained, model = running.result()
            with finishing():
                try:
                    save_model(flags.output, model)
                except OSError as error:
                    save = partial(save_model, model=model)
                    keep_elsewhere(error, flags.output, save, what="network")
            is_finished = trained.step == flags.training.steps
            if is_finished and not flags.keep_checkpoint and os.path.isdir(flags.checkpoint):
                shutil.rmtree(flags.checkpoint)
    except Finished as end:
        messages.info(f"{prog}: {end}")
        messages.saved(flags.output)
        return 0
    except Stopped as stopped:
        leave(print_error(prog, "stopped before the first step", stopped.status))
    if is_finished:
        loss = float(np.mean(trained.losses["total"][-AVERAGED:]))
        messages.info(
            f"{counted(trained.step, 'step')} in {length(trained.seconds)}, final loss {loss:.3g}"
        )
        command = shlex.join(["jaxnst", "apply", flags.output, "PICTURE"])
        messages.info(f"to paint with it: {command}")
    else:
        messages.info(
            f"{prog}: stopped after {trained.step} of {flags.training.steps} steps; the network so "
            "far is saved, and the same command resumes the training"
        )
    messages.saved(flags.output)
    for failure in watch.failures:
        print_error(prog, failure, FAILED)
    return (0 if is_finished else status) or (FAILED if watch.failures else 0)


def _train(
    flags: TrainFlags, inputs: Inputs, watch: "Watch", stop: threading.Event, messages: Messages
) -> tuple[Trained, Model]:
    """Load the networks, make the loss, and train until the end or until ``stop`` is set."""
    device = use_device(flags.device)
    keep_programs(messages.notice, unless=flags.no_cache)
    start = _start(flags)
    module, recipe, training, pictures = start.module, flags.recipe, flags.training, inputs.pictures
    layers = [layer for layer, _ in (*recipe.content.layers, *recipe.style.layers)]
    name = flags.network or recipe.network
    network, crop = load_for(name, layers, flags), training.crop
    if crop < module.least:
        raise UsageError(
            f"--crop is {crop}, but these --widths need at least {module.least} pixels"
        )
    for layer in layers:
        if crop < (least := network.table[network.resolve(layer)].least):
            raise UsageError(f"--crop is {crop}, but {layer} needs at least {least} pixels")
    with blaming_flags():
        size, grid = flags.style_size, flags.grid_weight
        loss, frozen = make_loss(module, recipe, network, inputs.style, style_size=size, grid=grid)
    architecture = (f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name"))
    settings = {
        **{name: str(value) for name, value in dataclasses.asdict(training).items()},
        "architecture": ", ".join(f"{name} {getattr(module, name)}" for name in architecture),
        "first parameters": DIGEST + parameters_sha256(start.params),
        "style picture": DIGEST + digest_of({"style": inputs.style}),
        "style size": str(flags.style_size),
        "grid weight": str(flags.grid_weight),
        "training pictures": DIGEST + pictures.digest,
        **{f"recipe's {name}": text for name, text in recipe_words(recipe).items()},
        **network_words(network),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    _check_replacing(flags, digest, has_begun=inputs.has_begun)
    mesh = mesh_of(training.batch, devices_beside(device, flags.device))
    devices, damaged = list(mesh.devices.flat), set[int]()
    others = f" and {len(devices) - 1} more" if len(devices) > 1 else ""
    messages.info(
        f"jaxnst {__version__}: {network.name} on {describe(devices[0])}{others}, "
        f"{counted(len(pictures), 'picture')}, {counted(training.steps, 'step')} of "
        f"{counted(training.batch, 'crop')} of {crop} pixels; compiling takes a moment"
    )
    workers = flags.workers
    if workers is None:
        half = max(1, (os.cpu_count() or 1) // 2)
        workers = 0 if device.platform == "cpu" else min(MAX_WORKERS, half)

    def report_step(report: Report) -> None:
        for index in {*report.broken} - damaged:
            damaged.add(index)
            if len(damaged) == 1:
                path = name_of(pictures.path(index))
                messages.notice(f"{path} is damaged; another picture replaces it")
        watch(report)

    if flags.sheet and inputs.samples:
        squares = np.stack([_square(picture) for picture in inputs.samples])
        watch.parts.append(partial(_save_sheet, flags, inputs.style, module, squares))
    with contextlib.closing(_ReportedCheckpoints(flags, settings, messages)) as checkpoints:
        trained = train(
            loss,
            start.params,
            frozen,
            lambda step: batches(pictures, training, start=step, workers=workers),
            training,
            devices=devices,
            checkpoints=checkpoints,
            callback=report_step,
            stop=stop.is_set,
        )
    if len(damaged) > 1:
        messages.notice(f"{len(damaged)} pictures are damaged; others replaced them")
    facts = {"loss_network": network.name, "settings": digest, **_facts(flags, inputs, trained)}
    if flags.begin is not None:
        # "4000", or "300 of 4000"
        words = (start.facts.get(key, "") for key in ("steps", "steps_before"))
        counts = [word.split(" ")[0] for word in words]
        facts["begun_with"] = name_of(os.path.basename(flags.begin))
        facts["steps_before"] = str(sum(int(n) for n in counts if n.isdecimal()))
    stem = os.path.splitext(os.path.basename(flags.output))[0]
    module, params = module.clone(precision="float32"), jax.tree.map(jnp.asarray, trained.params)
    return trained, Model(name_of(stem), module, params, facts)


def _facts(flags: TrainFlags, inputs: Inputs, trained: Trained) -> dict[str, str]:
    """Describe the inputs, the settings and the result, for the model's file."""
    steps, wanted = trained.step, flags.training.steps
    losses = {name: float(np.mean(of[-AVERAGED:])) for name, of in trained.losses.items()}
    weights = {part: getattr(flags.recipe, part).weight for part in ("content", "style", "tv")}
    return {
        "style": name_of(flags.about or os.path.basename(flags.style)),
        "style_sha256": digest_of({"style": inputs.style}),
        "style_size": str(min(flags.style_size, max(inputs.style.shape[:2]))),
        "recipe": flags.recipe.name,
        "weights": json.dumps({**weights, "grid": flags.grid_weight}),
        "training": json.dumps(dataclasses.asdict(flags.training), sort_keys=True),
        "steps": str(steps) if steps == wanted else f"{steps} of {wanted}",
        "pictures": str(len(inputs.pictures)),
        "losses": json.dumps({name: float(f"{value:.4g}") for name, value in losses.items()}),
        "jaxnst": __version__,
    }


def _start(flags: TrainFlags) -> Model:
    """Return the network before the first step: a trained one, or one of random parameters."""
    if flags.begin is not None:
        model = load_model(flags.begin)
        if model.module.normalization != "instance":
            raise ValueError(
                f"{name_of(flags.begin)} has {model.module.normalization} normalization, whose "
                "statistics are not trained: begin with a model of instance normalization"
            )
        return dataclasses.replace(model, module=model.module.clone(precision=flags.precision))
    with blaming_flags():
        fields = {"widths": WIDTHS} | flags.architecture
        module = TransformationNetwork(**fields, precision=flags.precision)
        module.check()
    factors = {"out/kernel": OUT_FACTOR}
    params = initial_parameters(module.shapes(), seed=flags.training.seed, factors=factors)
    return Model("untrained", module, params)


def _check_replacing(flags: TrainFlags, digest: str, *, has_begun: bool) -> None:
    """Refuse to replace a network, unless this training run wrote it and resumes."""
    path = flags.output
    if not is_taken(path):
        return
    try:
        facts = read_parameters(path)[1]
    except (OSError, ValueError):
        facts = {}
    is_same, steps = facts.get("settings") == digest, facts.get("steps", "")
    if is_same and "of" not in steps:
        raise Finished(
            f"{name_of(path)} is already trained with the same pictures and settings: nothing is "
            "left to do"
        )
    if flags.overwrite or (is_same and has_begun):
        return
    if is_same:
        which = f", after {steps} steps of this training run, whose checkpoint is missing"
    else:
        which = f", trained for {facts['style']} or with other settings" if "style" in facts else ""
    raise UsageError(
        f"-o {name_of(path)} already exists{which}: use another name, or add --overwrite to "
        "replace it"
    )


class _ReportedCheckpoints(Checkpoints):
    """Checkpoints of the command: if one cannot be written, a notice is printed instead."""

    def __init__(self, flags: TrainFlags, settings: dict[str, str], messages: Messages) -> None:
        folder, seconds = flags.checkpoint, flags.checkpoint_every
        super().__init__(folder, settings, environment=surroundings(), seconds=seconds)
        self._name, self._overwrite = name_of(flags.checkpoint), flags.overwrite
        self._messages = messages

    def restore(self, state: TrainState, terms: Sequence[str]) -> Checkpoint | None:
        try:
            checkpoint = super().restore(state, terms)
        except OtherSettings as error:
            if not self._overwrite:
                raise ValueError(f"{error}, or add --overwrite to replace it") from error
            self._messages.notice(f"{self._name} is from a run with other settings: it is replaced")
            self.discard()
            return None
        if checkpoint is not None:
            self._messages.notice(
                f"resuming from {self._name}, after {counted(checkpoint.step, 'step')}"
            )
        return checkpoint

    def save(self, checkpoint: Checkpoint) -> None:
        try:
            super().save(checkpoint)
        except OSError as error:
            self._messages.notice(explain(error))


class Watch:
    """Shows the progress of a training run, writes its log, and plots the losses at the end.

    Attributes:
      last: The last report, without parameters, or None.
      parts: Called with every report. One that fails is removed, and the training continues.
      failures: What went wrong, a line each.
    """

    def __init__(self, flags: TrainFlags, messages: Messages) -> None:
        self.last: Report | None = None
        self.failures: list[str] = []
        self.parts: list[Callable[[Report], None]] = [self._show]
        if flags.log:
            self.parts.append(partial(_log, JsonLines(flags.log, "step")))
        self._plot, self._messages = flags.plot, messages
        self._first: tuple[int, float] | None = None
        self._bar: Any = None
        is_plain = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
        if not messages.quiet and sys.stderr.isatty() and not is_plain:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = BarColumn(bar_width=None), TextColumn("{task.description}", markup=False)
            self._bar = Progress(*columns, console=Console(stderr=True), expand=True)
            self._bar_task = self._bar.add_task("compiling", total=1)
            self._bar.start()

    def __call__(self, report: Report) -> None:
        """Pass a report on to all parts."""
        self.last = report._replace(params=None)  # their memory is used again
        for part in tuple(self.parts):
            try:
                part(report)
            except Exception as error:
                self.parts.remove(part)
                self.failures.append(explain(error))

    def _show(self, report: Report) -> None:
        """Redraw the bar, or print a line every few seconds."""
        step, steps = report.step, report.steps
        means = {name: np.mean(values[-SHOWN:]) for name, values in report.losses.items()}
        total = means.pop("total")
        terms = " + ".join(f"{name} {value:.2g}" for name, value in means.items())
        text = f"step {step}/{steps}, loss {total:.3g} = {terms}"
        is_first = self._first is None
        # The time until the end of the first step, which includes compiling, is not counted.
        first, begin = self._first = self._first or (step, report.seconds)
        if first + ESTIMATED_AFTER <= step < steps:
            per_step = (report.seconds - begin) / (step - first)
            text += f", {length(per_step * (steps - step))} left"
        if self._bar is not None:
            self._bar.update(self._bar_task, total=steps, completed=step, description=text)
        elif is_first or step == steps:
            self._messages.info(text)
        else:
            self._messages.now_and_then(text)

    def close(self) -> None:
        """End the display, and plot the losses."""
        if self._bar is not None:
            self._bar.stop()
        if not self._plot or self.last is None:
            return
        last = self.last.step
        split = partial(np.array_split, indices_or_sections=min(POINTS, last))
        means = {
            name: [float(np.mean(part)) for part in split(np.array(values))]
            for name, values in self.last.losses.items()
        }
        steps = [int(part[-1]) for part in split(np.arange(1, last + 1))]
        try:
            save_losses(self._plot, means, evaluations=steps, count="steps")
        except Exception as error:
            self.failures.append(explain(error))


def _log(lines: JsonLines, report: Report) -> None:
    """Write a line of JSON; a run that resumes writes none twice."""
    losses = {name: values[-1] for name, values in report.losses.items()}
    line = report._asdict() | {"losses": losses, "seconds": round(report.seconds, 3)}
    del line["params"], line["broken"]
    lines.add(line, done=report.step - 1)


def _square(picture: Pixels) -> Pixels:
    """Cut the middle square out of a picture."""
    height, width = picture.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) / 2, (width - edge) / 2
    box = top, left, top + edge, left + edge
    return np.clip(resize(picture, (SIDE, SIDE), box=box), 0, 1)


def _save_sheet(
    flags: TrainFlags, style: Pixels, module: TransformationNetwork, squares: Pixels, report: Report
) -> None:
    """Paint the samples, if it is time, and save them on one sheet."""
    if flags.sheet is None or (report.step % flags.samples and report.step != report.steps):
        return
    style = on_white(style)
    outputs = np.asarray(painted(module, report.params, jnp.asarray(squares)))
    above = [("style", style), *(("", square) for square in squares)]
    below = [(f"step {report.step}", np.ones_like(style)), *(("", output) for output in outputs)]
    # The folder tells a later run that the sheet is not a training picture.
    os.makedirs(flags.checkpoint, exist_ok=True)
    save_image(flags.sheet, contact_sheet([above, below], height=SIDE))

"""The work of ``jaxnst train``: train the network, show progress, and save the result."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from filelock import FileLock, Timeout

from jaxnst._files import digest_of, name_of
from jaxnst._version import __version__
from jaxnst.cli.device import describe, devices_beside, keep_programs, use_device
from jaxnst.cli.errors import FAILED, UsageError, blaming_flags, explain, leave, print_error
from jaxnst.cli.interrupt import Stopped, finishing, stoppable
from jaxnst.cli.loading import load_for
from jaxnst.cli.logs import JsonLines
from jaxnst.cli.messages import Messages, length, print_path
from jaxnst.cli.outputs import is_taken, keep_elsewhere
from jaxnst.cli.train import Inputs, TrainFlags
from jaxnst.feedforward.checkpoints import Checkpoint, Checkpoints, TrainState
from jaxnst.feedforward.crops import batches
from jaxnst.feedforward.models import Model, load_model, painted, save_model
from jaxnst.feedforward.perceptual import Frozen, PerceptualLoss, make_loss
from jaxnst.feedforward.training import Report, Trained, initial_parameters, train
from jaxnst.feedforward.transformer import TransformationNetwork
from jaxnst.image import resize, save_image
from jaxnst.image.color import Pixels
from jaxnst.image.record import parameters_sha256
from jaxnst.networks import LossNetwork
from jaxnst.networks.registry import Params
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

LOCK_SECONDS = 1.0
"""How long to wait for another training in the same folder."""

AVERAGED = 100
"""Last steps, whose average losses are written into the model's file."""

ARCHITECTURE: dict[str, Any] = {"widths": (16, 32, 64), "blocks": 5, "upsampling": "resize"}
"""Of the network that is trained, by default."""

OUT_FACTOR = 0.1
"""Factor of the initial last kernel: with He's own values the tanh of the output is saturated."""

SHOWN = 50
"""Steps over which the losses that are shown are averaged: those of single batches vary widely."""

ESTIMATED_AFTER = 5
"""Steps after which the remaining time is estimated."""

POINTS = 400
"""Most points of a curve, each the mean of the steps since the one before."""

SIDE = 256
"""Of the squares on the sheet, pixels."""


class Finished(Exception):
    """The network has been trained already."""


@dataclasses.dataclass(frozen=True)
class Task:
    """Everything that a training run begins with.

    Attributes:
      params: Of the module, before the first step.
      steps_before: That these were trained for.
      settings: Everything that decides what is learned, as text by name.
    """

    flags: TrainFlags
    inputs: Inputs
    module: TransformationNetwork
    params: Params
    steps_before: int
    network: LossNetwork
    devices: list[jax.Device]
    loss: PerceptualLoss
    frozen: Frozen
    settings: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of the settings, by which a network is recognized as one of this training."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    def model(self, trained: Trained) -> Model:
        """Make the model, with the facts that its file holds."""
        flags, recipe, steps = self.flags, self.flags.recipe, trained.step
        losses = {name: float(np.mean(of[-AVERAGED:])) for name, of in trained.losses.items()}
        weights = {part: getattr(recipe, part).weight for part in ("content", "style", "tv")}
        wanted = flags.training.steps
        facts = {
            "style": name_of(flags.about or os.path.basename(flags.style)),
            "style_sha256": digest_of({"style": self.inputs.style}),
            "style_size": str(min(flags.style_size, max(self.inputs.style.shape[:2]))),
            "recipe": recipe.name,
            "loss_network": self.network.name,
            "weights": json.dumps({**weights, "grid": flags.grid_weight}),
            "training": json.dumps(dataclasses.asdict(flags.training), sort_keys=True),
            "settings": self.digest,
            "steps": str(steps) if steps == wanted else f"{steps} of {wanted}",
            "pictures": str(len(self.inputs.pictures)),
            "losses": json.dumps({name: float(f"{value:.4g}") for name, value in losses.items()}),
            "jaxnst": __version__,
        }
        if flags.begin is not None:
            facts["begun_with"] = name_of(os.path.basename(flags.begin))
            facts["steps_before"] = str(self.steps_before)
        module = self.module.clone(precision="float32")
        stem = os.path.splitext(os.path.basename(flags.output))[0]
        return Model(name_of(stem), module, jax.tree.map(jnp.asarray, trained.params), facts)


def train_style(flags: TrainFlags, inputs: Inputs, messages: Messages) -> int:
    """Train, and save the network, also that of a run that is stopped.

    Returns:
      The exit status.
    """
    prog = messages.prog
    try:
        with _locked(flags), contextlib.closing(Watch(flags, messages)) as watch:
            task, trained, status = _train_until_stopped(flags, inputs, watch, messages)
            model = task.model(trained)
            with finishing():
                try:
                    save_model(flags.output, model)
                except OSError as error:
                    keep_elsewhere(
                        error,
                        flags.output,
                        lambda refuge: save_model(refuge, model),
                        what="network",
                    )
            is_finished = trained.step == flags.training.steps
            if is_finished and not flags.keep_checkpoint and os.path.isdir(flags.checkpoint):
                shutil.rmtree(flags.checkpoint)
    except Finished as end:
        messages.info(f"{prog}: {end}")
        print_path(flags.output)
        return 0
    except Stopped as stop:
        leave(print_error(prog, "stopped before any step", stop.status))
    if is_finished:
        loss = float(np.mean(trained.losses["total"][-AVERAGED:]))
        messages.info(
            f"{trained.step} steps in {length(trained.seconds)}, loss {loss:.3g} at the end"
        )
    else:
        messages.info(
            f"{prog}: stopped after {trained.step} of {flags.training.steps} steps, the network "
            "so far is saved; the same command goes on"
        )
    print_path(flags.output)
    for failure in watch.failures:
        print_error(prog, failure, FAILED)
    return (0 if is_finished else status) or (FAILED if watch.failures else 0)


@contextlib.contextmanager
def _locked(flags: TrainFlags) -> Iterator[None]:
    """Keep other processes from training in the same folder.

    Raises:
      OSError: Another process is.
    """
    lock = FileLock(flags.lock)
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise OSError(
            f"another training is at work in {name_of(flags.checkpoint)}: wait for it, or give "
            "another --checkpoint"
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(flags.lock)
        lock.release()


def _train_until_stopped(
    flags: TrainFlags, inputs: Inputs, watch: "Watch", messages: Messages
) -> tuple[Task, Trained, int]:
    """Train until the end, or end after the present step when a signal arrives.

    Returns:
      What was trained, the result, and the exit status for the signal.

    Raises:
      Finished: There is nothing to do.
      Stopped: There has been no step yet, in this process or an earlier one.
    """
    stop, result = threading.Event(), Future[tuple[Task, Trained]]()

    def work() -> None:
        try:
            task = _make_task(flags, inputs, messages)
            _check_replacing(task)
            result.set_result((task, _trained(task, watch, stop, messages)))
        except BaseException as error:
            result.set_exception(error)

    status = 0
    try:
        stoppable(work)
    except Stopped as stopped:
        if watch.last is None and not inputs.has_begun:
            raise
        status = stopped.status
        stop.set()
        messages.info(f"{messages.prog}: stopping after this step; once more to stop at once")
    return *result.result(), status


def _make_task(flags: TrainFlags, inputs: Inputs, messages: Messages) -> Task:
    """Choose devices, load the networks, and make the loss.

    Raises:
      UsageError: An option cannot be used.
    """
    device = use_device(flags.device)
    if not flags.no_cache:
        keep_programs(messages.notice)
    module, params, steps_before = _initial_network(flags)
    recipe, crop = flags.recipe, flags.training.crop
    layers = [layer for layer, _ in (*recipe.content.layers, *recipe.style.layers)]
    name = flags.network or recipe.network
    why = f": `jaxnst reconstruct layers --network {name}` lists them"
    network = load_for(name, layers, flags, why=why)
    if crop < module.least:
        raise UsageError(f"--crop is {crop}, but such --widths need at least {module.least} pixels")
    for layer in layers:
        if crop < (least := network.table[network.resolve(layer)].least):
            raise UsageError(f"--crop is {crop}, but {layer} needs at least {least} pixels")
    with blaming_flags():
        loss, frozen = make_loss(
            module,
            recipe,
            network,
            inputs.style,
            style_size=flags.style_size,
            grid=flags.grid_weight,
            period=module.stride,
        )
    mesh = mesh_of(flags.training.batch, devices_beside(device, flags.device))
    architecture = (f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name"))
    training = dataclasses.asdict(flags.training).items()
    settings = {
        **{name: str(value) for name, value in training},
        "architecture": ", ".join(f"{name} {getattr(module, name)}" for name in architecture),
        "first parameters": DIGEST + parameters_sha256(params),
        "style picture": DIGEST + digest_of({"style": inputs.style}),
        "style size": str(flags.style_size),
        "grid weight": str(flags.grid_weight),
        "training pictures": DIGEST + inputs.pictures.digest,
        **{f"recipe's {name}": text for name, text in recipe_words(recipe).items()},
        **network_words(network),
    }
    devices = list(mesh.devices.flat)
    return Task(
        flags, inputs, module, params, steps_before, network, devices, loss, frozen, settings
    )


def _initial_network(flags: TrainFlags) -> tuple[TransformationNetwork, Params, int]:
    """Return the network, its parameters before the first step, and how long they were trained.

    Raises:
      UsageError: There is no such network.
      ValueError: The one to begin with cannot be trained.
    """
    if flags.begin is None:
        with blaming_flags():
            values = {name: getattr(flags, name) for name in ARCHITECTURE}
            chosen = {name: value for name, value in values.items() if value is not None}
            module = TransformationNetwork(**ARCHITECTURE | chosen, precision=flags.precision)
            module.check()
        factors, seed = {"out/kernel": OUT_FACTOR}, flags.training.seed
        return module, initial_parameters(module.shapes(), seed=seed, factors=factors), 0
    model = load_model(flags.begin)
    if model.module.normalization != "instance":
        raise ValueError(
            f"{name_of(flags.begin)} has {model.module.normalization} normalization, whose "
            "statistics training does not follow: begin with a model of instance normalization"
        )
    # "4000", or "300 of 4000"
    counts = (model.facts.get(word, "").split(" ")[0] for word in ("steps", "steps_before"))
    steps = sum(int(count) for count in counts if count.isdecimal())
    return model.module.clone(precision=flags.precision), model.params, steps


def _check_replacing(task: Task) -> None:
    """Refuse to replace a network, unless it is from this training, which resumes.

    Raises:
      Finished: This training has made it.
      UsageError: Another one has, or no checkpoint of this one is left.
    """
    path = task.flags.output
    if not is_taken(path):
        return
    try:
        facts = read_parameters(path)[1]
    except (OSError, ValueError):
        facts = {}
    is_own, steps = facts.get("settings") == task.digest, facts.get("steps", "")
    if is_own and "of" not in steps:
        raise Finished(
            f"{name_of(path)} is finished, by a training with the same pictures and settings: "
            "nothing is left to do"
        )
    if task.flags.overwrite or (is_own and task.inputs.has_begun):
        return
    if is_own:
        which = f", after {steps} steps of this training, whose checkpoint is missing"
    else:
        which = f", trained for {facts['style']} or with other settings" if "style" in facts else ""
    raise UsageError(
        f"-o {name_of(path)} is there already{which}: use another name, or give --overwrite to "
        "replace it"
    )


def _trained(task: Task, watch: "Watch", stop: threading.Event, messages: Messages) -> Trained:
    """Train until the end, or until ``stop`` is set."""
    training, pictures = task.flags.training, task.inputs.pictures
    device, others = task.devices[0], len(task.devices) - 1
    messages.info(
        f"jaxnst {__version__}: {task.network.name} on {describe(device)}"
        f"{f' and {others} more' if others else ''}, {len(pictures)} pictures, {training.steps} "
        f"steps of {training.batch} crops of {training.crop} pixels; compiling takes a moment"
    )
    workers = task.flags.workers
    if workers is None:
        half = max(1, (os.cpu_count() or 1) // 2)
        workers = 0 if device.platform == "cpu" else min(MAX_WORKERS, half)
    damaged = set[int]()

    def report_step(report: Report) -> None:
        for index in {*report.broken} - damaged:
            damaged.add(index)
            if len(damaged) == 1:
                messages.notice(f"{name_of(pictures.path(index))} is damaged, another is taken")
        watch(report)

    watch.begin(task)
    with contextlib.closing(_ReportedCheckpoints(task, watch, messages)) as checkpoints:
        trained = train(
            task.loss,
            task.params,
            task.frozen,
            lambda start: batches(
                pictures,
                side=training.crop,
                batch=training.batch,
                seed=training.seed,
                start=start,
                workers=workers,
            ),
            training,
            devices=task.devices,
            checkpoints=checkpoints,
            callback=report_step,
            stop=stop.is_set,
        )
    if len(damaged) > 1:
        messages.notice(f"{len(damaged)} pictures are damaged, others were taken in their place")
    return trained


class _ReportedCheckpoints(Checkpoints):
    """Checkpoints of the command: training goes on if one cannot be written, with a notice."""

    def __init__(self, task: Task, watch: "Watch", messages: Messages) -> None:
        flags = task.flags
        super().__init__(
            flags.checkpoint,
            task.settings,
            environment=surroundings(),
            seconds=flags.checkpoint_every,
        )
        self._name, self._overwrite = name_of(flags.checkpoint), flags.overwrite
        self._watch, self._messages = watch, messages

    def restore(self, state: TrainState, terms: Sequence[str]) -> Checkpoint | None:
        try:
            checkpoint = super().restore(state, terms)
        except OtherSettings as error:
            if not self._overwrite:
                raise ValueError(f"{error}, or give --overwrite") from error
            self._messages.notice(f"{self._name} is of a run with other settings: it is replaced")
            self.discard()
            return None
        if checkpoint is not None:
            self._messages.notice(f"going on from {self._name}, after {checkpoint.step} steps")
            rows = checkpoint.losses.tolist()
            self._watch.losses = [dict(zip(terms, row, strict=True)) for row in rows]
        return checkpoint

    def save(self, checkpoint: Checkpoint) -> None:
        try:
            super().save(checkpoint)
        except OSError as error:
            self._messages.notice(explain(error))


class Watch:
    """Shows how far a training is; writes a log, a sheet of samples, and a plot at the end.

    One of them that fails is left out from then on, and the training continues.

    Attributes:
      last: The last report, without parameters, or None.
      losses: Of every step, also of those before the run was resumed.
      failures: What went wrong, a line each.
    """

    def __init__(self, flags: TrainFlags, messages: Messages) -> None:
        self.last: Report | None = None
        self.losses: list[dict[str, float]] = []
        self.failures: list[str] = []
        self._options, self._messages = flags, messages
        self._parts: list[Callable[[Report], None]] = [self._show]
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

    def begin(self, task: Task) -> None:
        """Prepare the log and the sheet."""
        if self._options.log:
            self._lines = JsonLines(self._options.log, "step")
            self._parts.append(self._log)
        if self._options.sheet and task.inputs.samples:
            squares = np.stack([*map(_square, task.inputs.samples)])
            self._parts.append(partial(_save_sheet, self._options.sheet, task, squares))

    def __call__(self, report: Report) -> None:
        """Take note of a step."""
        self.last = report._replace(params=None)  # their memory is used again
        self.losses.append(report.losses)
        for part in tuple(self._parts):
            try:
                part(report)
            except Exception as error:
                self._parts.remove(part)
                self.failures.append(explain(error))

    def _show(self, report: Report) -> None:
        """Redraw the bar, or print a line every few seconds."""
        step, steps, recent = report.step, report.steps, self.losses[-SHOWN:]
        means = {name: np.mean([row[name] for row in recent]) for name in report.losses}
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

    def _log(self, report: Report) -> None:
        """Write a line of JSON; a run that resumes leaves none twice."""
        line = report._asdict() | {"seconds": round(report.seconds, 3)}
        del line["params"], line["broken"]
        self._lines.add(line, done=report.step - 1)

    def close(self) -> None:
        """End the display, and plot the losses: means of as many steps each as necessary."""
        if self._bar is not None:
            self._bar.stop()
        if not self._options.plot or not self.losses:
            return
        parts = np.array_split(np.arange(len(self.losses)), min(POINTS, len(self.losses)))
        means = {
            name: [float(np.mean([self.losses[i][name] for i in part])) for part in parts]
            for name in self.losses[0]
        }
        steps = [int(part[-1]) + 1 for part in parts]
        try:
            save_losses(self._options.plot, means, evaluations=steps, count="steps")
        except Exception as error:
            self.failures.append(explain(error))


def _square(picture: Pixels) -> Pixels:
    """Cut the middle square out of a picture."""
    height, width = picture.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) / 2, (width - edge) / 2
    box = top, left, top + edge, left + edge
    return np.clip(resize(picture, (SIDE, SIDE), box=box), 0, 1)


def _save_sheet(path: str, task: Task, squares: Pixels, report: Report) -> None:
    """Paint the samples, if it is time, and save them on one sheet."""
    if report.step % task.flags.samples and report.step != report.steps:
        return
    style = on_white(task.inputs.style)
    outputs = np.asarray(painted(task.module, report.params, jnp.asarray(squares)))
    above = [("style", style), *(("", square) for square in squares)]
    below = [(f"step {report.step}", np.ones_like(style)), *(("", output) for output in outputs)]
    # Its presence tells a later run that the sheet is no picture to train on.
    os.makedirs(task.flags.checkpoint, exist_ok=True)
    save_image(path, contact_sheet([above, below], height=SIDE))

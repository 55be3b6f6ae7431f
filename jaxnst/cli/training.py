"""The work of ``jaxnst train``: the network is trained, watched, kept, and written at the end."""

import argparse
import contextlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial

import jax
import numpy as np
from filelock import FileLock, Timeout

from jaxnst._files import name_of
from jaxnst._version import __version__
from jaxnst.cli.device import describe
from jaxnst.cli.errors import UsageError, complain, explain, leave
from jaxnst.cli.interrupt import Stopped, finishing, stoppable
from jaxnst.cli.messages import Messages, length, print_path
from jaxnst.cli.outputs import is_taken, keep_elsewhere
from jaxnst.cli.train import Given, lock_of
from jaxnst.cli.train_task import LAST, Task, make_task
from jaxnst.cli.train_watch import Watch
from jaxnst.feedforward.checkpoints import Checkpoints, clear_unused
from jaxnst.feedforward.crops import batches
from jaxnst.feedforward.models import Model, painted, save_model
from jaxnst.feedforward.settings import Training
from jaxnst.feedforward.training import Place, Report, Trained, TrainState, train
from jaxnst.recipes.schema import Recipe
from jaxnst.transfer.fingerprint import OtherSettings, surroundings
from jaxnst.weights import read_parameters

MOST_WORKERS = 4

PATIENCE = 1.0
"""Seconds that another training in the same folder is waited for."""


class Finished(Exception):
    """The network that is asked for is there already."""


def train_style(flags: argparse.Namespace, recipe: Recipe, given: Given, messages: Messages) -> int:
    """Train, and write the network, also of a run that is stopped.

    Args:
      flags: Of the command.
      recipe: What the loss computes.
      given: What was read.
      messages: Where to report.
    """
    try:
        with _alone(flags.checkpoint):
            task, trained, watch, status = _until_stopped(flags, recipe, given, messages)
            with finishing():
                _save(flags.output, task.model(trained))
            finished = trained.step == task.settings.steps
            if finished and not flags.checkpoint_kept and os.path.isdir(flags.checkpoint):
                shutil.rmtree(flags.checkpoint)
    except Finished as end:
        messages.say(f"{messages.prog}: {end}")
        print_path(flags.output)
        return 0
    except Stopped as stop:
        leave(complain(messages.prog, "stopped before any step", stop.status))
    messages.say(_summary(trained, task.settings, messages.prog))
    print_path(flags.output)
    return watch.complain(messages.prog, 0 if finished else status)


def _save(path: str, model: Model) -> None:
    """Write the network; if that fails, rather elsewhere than not at all.

    Raises:
      OSError: It could not be saved where it should.
    """
    try:
        save_model(path, model)
    except OSError as error:
        keep_elsewhere(error, path, lambda refuge: save_model(refuge, model), what="network")


def _until_stopped(
    flags: argparse.Namespace, recipe: Recipe, given: Given, messages: Messages
) -> tuple[Task, Trained, Watch, int]:
    """Train until the end, or until the step at which somebody wants no more of it.

    Raises:
      Finished: There is nothing to do.
      Stopped: There has been no step yet, in no process.
    """
    enough, done = threading.Event(), Future[tuple[Task, Trained]]()
    is_new = not os.path.isdir(flags.checkpoint)
    with contextlib.closing(Watch(flags, given, messages)) as watch:

        def work() -> None:
            try:
                done.set_result(_work(flags, recipe, given, watch, enough, messages))
            except BaseException as error:
                done.set_exception(error)

        status = 0
        try:
            stoppable(work)
        except Stopped as stop:
            if watch.last is None and not flags.begun:
                clear_unused(flags.checkpoint, is_new=is_new)
                raise
            status = stop.status
            enough.set()
            messages.say(f"{messages.prog}: stopping after this step; once more to stop at once")
        return *done.result(), watch, status


def _summary(trained: Trained, settings: Training, prog: str) -> str:
    if trained.step < settings.steps:
        return (
            f"{prog}: stopped after {trained.step} of {settings.steps} steps, the network so far "
            "is saved; the same command goes on"
        )
    loss = float(np.mean(trained.losses["total"][-LAST:]))
    return f"{trained.step} steps in {length(trained.seconds)}, loss {loss:.3g} at the end"


def _work(
    flags: argparse.Namespace,
    recipe: Recipe,
    given: Given,
    watch: Watch,
    enough: threading.Event,
    messages: Messages,
) -> tuple[Task, Trained]:
    """Make everything ready, and train until the end or until it is enough."""
    task = make_task(flags, recipe, given, messages)
    _check_replacing(task)
    messages.say(
        f"jaxnst {__version__}: {task.network.name} on {_where(task.devices)}, "
        f"{len(given.pictures)} pictures, {task.settings.steps} steps of {task.settings.batch} "
        f"crops of {task.settings.crop} pixels; compiling takes a moment"
    )
    keeper = Checkpoints(
        flags.checkpoint,
        task.words(),
        surroundings=surroundings(),
        seconds=flags.checkpoint_every,
    )
    watch.paint = partial(painted, task.module)
    with contextlib.closing(keeper):
        return task, _trained(task, keeper, watch, enough, messages)


def _check_replacing(task: Task) -> None:
    """Refuse to replace a network, unless this training resumes from where it was written.

    Raises:
      Finished: This training has made it.
      UsageError: Another one has, or no checkpoint is left of this one.
    """
    path = task.flags.output
    if not is_taken(path):
        return
    try:
        facts = read_parameters(path)[1]
    except (OSError, ValueError):
        facts = {}
    own, steps = facts.get("settings") == task.digest, facts.get("steps", "")
    if own and "of" not in steps:
        raise Finished(
            f"{name_of(path)} is finished, by a training with the same pictures and settings: "
            "nothing is left to do"
        )
    if task.flags.overwrite or (own and task.flags.begun):
        return
    if own:
        which = f", after {steps} steps of this training, whose checkpoint is missing"
    else:
        which = f", trained for {facts['style']} or with other settings" if "style" in facts else ""
    raise UsageError(
        f"-o {name_of(path)} is there already{which}: use another name, or give --overwrite to "
        "replace it"
    )


def _trained(
    task: Task, keeper: Checkpoints, watch: Watch, enough: threading.Event, messages: Messages
) -> Trained:
    settings, pictures, flags = task.settings, task.given.pictures, task.flags
    seen = set[int]()

    def tell(report: Report) -> None:
        for index in {*report.broken} - seen:
            seen.add(index)
            if len(seen) == 1:
                messages.notice(f"{name_of(pictures.path(index))} is damaged, another is taken")
        watch(report)

    trained = train(
        task.loss,
        task.params,
        task.frozen,
        lambda start: batches(
            pictures,
            side=settings.crop,
            batch=settings.batch,
            seed=settings.seed,
            start=start,
            workers=_workers(flags.workers, task.devices[0]),
        ),
        settings,
        devices=task.devices,
        keeper=_Told(keeper, name_of(flags.checkpoint), flags.overwrite, watch, messages),
        callback=tell,
        stop=enough.is_set,
    )
    if len(seen) > 1:
        messages.notice(f"{len(seen)} pictures are damaged, others were taken in their place")
    return trained


class _Told:
    """Tells what was restored; goes on where a checkpoint cannot be written, and says so."""

    def __init__(
        self,
        keeper: Checkpoints,
        folder: str,
        overwrite: bool,
        watch: Watch,
        messages: Messages,
    ) -> None:
        self.due, self._keeper = keeper.due, keeper
        self._folder, self._overwrite = folder, overwrite
        self._watch, self._messages = watch, messages

    def restore(self, state: TrainState, terms: Sequence[str]) -> Place | None:
        try:
            place = self._keeper.restore(state, terms)
        except OtherSettings as error:
            if not self._overwrite:
                raise ValueError(f"{error}, or give --overwrite") from error
            self._messages.notice(f"{self._folder} is of a run with other settings: it is replaced")
            self._keeper.discard()
            return None
        if place is not None:
            self._messages.notice(f"going on from {self._folder}, after {place.step} steps")
            self._watch.goes_on(terms, place.losses)
        return place

    def keep(self, place: Place) -> None:
        try:
            self._keeper.keep(place)
        except OSError as error:
            self._messages.notice(explain(error))


def _workers(wanted: int | None, device: jax.Device) -> int:
    if wanted is not None:
        return wanted
    return 0 if device.platform == "cpu" else min(MOST_WORKERS, max(1, (os.cpu_count() or 1) // 2))


def _where(devices: list[jax.Device]) -> str:
    several = f" and {len(devices) - 1} more" if len(devices) > 1 else ""
    return describe(devices[0]) + several


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Keep others from training in the same folder.

    Raises:
      OSError: Another process does.
    """
    path = lock_of(folder)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise OSError(
            f"another training is at work in {name_of(folder)}: wait for it, or give another "
            "--checkpoint"
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
        lock.release()

"""Train decoders for a loss network: from its feature maps back to the picture.

A decoder of level L mirrors the network from relu{L}_1 (Li et al. 2017, section 3.1). It learns to
reconstruct the network's input, by the paper's loss with means of squares:

    |image - picture|^2 + weight * |features(image) - features(picture)|^2 / |features(picture)|^2

Levels are trained one after the other, from shallow to deep. A decoder begins with the layers of
the previous one; the layers that lead to them are first trained alone, to reproduce the features of
the previous level. Then all layers are trained, deeper levels at a lower learning rate: at a higher
one, or from random layers, a decoder of level 5 stays 5 dB below. Level 1 begins with the single
convolution of least squared error, which is solved for, after one that is the identity.

    python scripts/train_decoders.py --images DIR --out runs/decoders

``OUT/decoders.safetensors`` (float16) is the file for ``jaxnst instant --decoders``; levels that
are not trained are kept from an existing file, and the next level begins with them.
``OUT/samples{L}.png`` shows reconstructions of pictures that are not trained on. Checkpoints are in
``OUT/level{L}``: the same command resumes from them. Ctrl-C stops after the current step and saves
it. Needs the extra ``train``.
"""

import argparse
import contextlib
import dataclasses
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from decoder_losses import Reconstruction, StepDown, initial_autoencoder, solve_level_1
from pictures import centre_crops, divided
from reconstruction import given_back, psnr
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import jaxnst
from jaxnst._checks import lookup, not_negative, positive
from jaxnst._files import check_writable, name_of
from jaxnst.cli.errors import UsageError, explain, guarded
from jaxnst.cli.flags import SEEDS, Parser
from jaxnst.cli.interrupt import Stopped, stoppable
from jaxnst.cli.messages import Messages
from jaxnst.cli.option_types import integer, integers, number
from jaxnst.feedforward.checkpoints import Checkpoints
from jaxnst.feedforward.crops import Batch, batches, find_pictures
from jaxnst.feedforward.decoders import (
    Autoencoder,
    Decoder,
    load_autoencoders,
    make_autoencoder,
)
from jaxnst.feedforward.settings import Training
from jaxnst.feedforward.training import Report, train
from jaxnst.networks import NETWORKS, LossNetwork
from jaxnst.networks.vgg import VGG
from jaxnst.report.contact_sheet import contact_sheet
from jaxnst.transfer.fingerprint import DIGEST, network_words
from jaxnst.weights import write_parameters

PROG = "train_decoders.py"
SAMPLES = 4
REPORT_EVERY = 250
SHARES = {1: 0.04, 2: 1.0, 3: 0.35, 4: 0.12, 5: 0.04}  # of the learning rate, by level
MORE = 4  # times as many crops for the layers between levels: deep maps have few positions
OF_TRAINING = ("steps", "batch", "crop", "rate", "warmup", "seed")
DECIDING = (*OF_TRAINING, "feature_weight", "down_steps", "down_rate")


class Interrupted(Exception):
    """Training was stopped. Names what is saved of the current level, if anything."""


class Watch:
    """Shows the progress of training a level, and measures its reconstructions now and then."""

    def __init__(
        self, level: Autoencoder, crops: Sequence[np.ndarray], out: Path, progress: Progress
    ) -> None:
        self.level, self.crops, self.progress = level, crops, progress
        self.path = out / f"samples{level.level}.png"
        self.task = progress.add_task(f"level {level.level}", total=None)

    def __call__(self, report: Report) -> None:
        """Show a report."""
        text = f"level {self.level.level}, loss {report.losses['total'][-1]:.4f}"
        progress = {"completed": report.step, "total": report.steps}
        self.progress.update(self.task, description=text, **progress)
        if report.step % REPORT_EVERY == 0 or report.step == report.steps:
            decibels = self.measure(report.params)
            text = f"step {report.step} {report.seconds:.0f} s: {decibels:.2f} dB"
            self.progress.console.print(f"level {self.level.level} {text}", highlight=False)

    def measure(self, params: Any) -> float:
        """Return the mean PSNR, and draw a sheet of samples."""
        reconstruct = partial(given_back, self.level, self.level.encoder.params, params)
        images = [np.asarray(reconstruct(jnp.asarray(crop))) for crop in self.crops]
        cells = [np.hstack(pair) for pair in zip(self.crops, images, strict=True)]
        rows = [[("picture, reconstruction", cell)] for cell in cells[:SAMPLES]]
        jaxnst.save_image(self.path, contact_sheet(rows, height=cells[0].shape[0]))
        return float(np.mean([psnr(*pair) for pair in zip(images, self.crops, strict=True)]))


class Trainer:
    """Trains levels, from shallow to deep.

    Args:
      arguments: The parsed command line.
      progress: Shows progress bars.
      messages: Prints notices.

    Raises:
      KeyError: There is no such network.
      OSError: A file does not exist, or ``--out`` cannot be written to.
      ValueError: A number, the network, a file of decoders or the pictures cannot be used.

    Attributes:
      stop: Set it to stop after the current step.
      finished: Levels that are trained and written.
      fingerprint: Everything that decides the result, as text by name.
    """

    def __init__(
        self, arguments: argparse.Namespace, progress: Progress, messages: Messages
    ) -> None:
        self.arguments, self.progress, self.messages = arguments, progress, messages
        self.stop, self.finished = threading.Event(), list[int]()
        self.settings = Training(**{name: getattr(arguments, name) for name in OF_TRAINING})
        not_negative("feature weight", arguments.feature_weight)
        positive("down rate", arguments.down_rate)
        self.down_settings = dataclasses.replace(
            self.settings,
            steps=arguments.down_steps,
            rate=arguments.down_rate,
            batch=MORE * self.settings.batch,
        )
        self.path = arguments.out / "decoders.safetensors"
        if arguments.out.exists() and not arguments.out.is_dir():
            raise NotADirectoryError(
                f"--out {name_of(arguments.out)} is a file, expected a folder: give another name"
            )
        os.makedirs(arguments.out, exist_ok=True)
        check_writable(self.path)
        self.network = _load_network(arguments)
        pictures = find_pictures(arguments.images, side=self.settings.crop)
        for text in pictures.left_out(self.settings.crop):
            messages.notice(text)
        self.damaged = set[int]()
        self.pictures, held_out = divided(pictures, arguments.held_out)
        notice = messages.notice if arguments.held_out is None else None
        self.crops = centre_crops(held_out, 256, notice)
        load = partial(load_autoencoders, self.network)
        self.begin = {} if arguments.begin is None else load(decoders=arguments.begin)
        existing = (load(decoders=self.path) if self.path.exists() else {}) | self.begin
        self.trained = {level: autoencoder.params for level, autoencoder in existing.items()}
        begin = arguments.begin
        self.fingerprint = {
            **{name: str(getattr(arguments, name)) for name in DECIDING},
            "pictures": DIGEST + self.pictures.digest,
            "begin": DIGEST + sha256(begin.read_bytes()).hexdigest() if begin else "nothing",
            **network_words(self.network),
        }

    def batches(self, settings: Training, start: int) -> Iterator[Batch]:
        """Cut batches, from a number on."""
        return batches(self.pictures, settings, start=start, workers=self.arguments.workers)

    def train(self, name: str, loss: Any, params: Any, settings: Training, watch: Any) -> Any:
        """Train, or resume from the checkpoint of that name; raise Interrupted if stopped."""
        source = partial(self.batches, settings)
        options = {"callback": partial(self.report_step, watch), "stop": self.stop.is_set}
        folder = self.arguments.out / name
        with contextlib.closing(Checkpoints(folder, self.fingerprint)) as checkpoints:
            if checkpoints.last is not None and checkpoints.last < settings.steps:
                self.messages.notice(f"resuming {name} after {checkpoints.last} steps")
            options["checkpoints"] = checkpoints
            trained = train(loss, params, self.network.params, source, settings, **options)
        if trained.step < settings.steps:
            raise Interrupted(f"{name} after {trained.step} of {settings.steps} steps")
        return jax.tree.map(jnp.asarray, trained.params)

    def report_step(self, watch: Callable[[Report], None], report: Report) -> None:
        """Pass a report on, and print a notice of damaged pictures."""
        for index in {*report.broken} - self.damaged:
            self.damaged.add(index)
            name = name_of(self.pictures.path(index))
            self.messages.notice(f"{name} is damaged; another picture replaces it")
        watch(report)

    def until_stopped(self, source: Iterator[Batch]) -> Iterator[Batch]:
        """Yield batches; raise Interrupted if stopped."""
        with contextlib.closing(source):
            for batch in source:
                if self.stop.is_set():
                    raise Interrupted
                yield batch

    def train_all(self) -> None:
        """Train every level; raise Interrupted if stopped."""
        for level in sorted(set(self.arguments.levels)):
            self.train_level(level)

    def train_level(self, level: int) -> None:
        """Train one level, and write it with the others."""
        if self.stop.is_set():
            raise Interrupted
        start = self.initial(level)
        watch = Watch(start, self.crops, self.arguments.out, self.progress)
        self.info(level, f"begins with {watch.measure(start.params):.2f} dB")
        loss = Reconstruction(start, self.arguments.feature_weight)
        settings = dataclasses.replace(self.settings, rate=SHARES[level] * self.settings.rate)
        self.trained[level] = self.train(f"level{level}", loss, start.params, settings, watch)
        self.info(level, f"has {watch.measure(self.trained[level]):.2f} dB")
        parameters = {
            f"level{level}/{layer}/{part}": np.asarray(values, np.float16)
            for level in sorted(self.trained, reverse=True)
            for layer, parts in self.trained[level].items()
            for part, values in parts.items()
        }
        metadata = {"decoders_of": self.arguments.network}
        write_parameters(self.path, parameters, metadata=metadata)
        self.finished.append(level)

    def initial(self, level: int) -> Autoencoder:
        """Return a level before all of its layers are trained."""
        if level in self.begin:
            return self.begin[level]
        settings = self.settings
        crops = next(self.batches(settings, settings.steps)).images / np.float32(255)
        start = initial_autoencoder(self.network, level, jnp.asarray(crops), settings.seed)
        if level == 1:
            source = self.until_stopped(self.batches(settings, 0))
            return make_autoencoder(self.network, 1, solve_level_1(start, source))
        if level - 1 not in self.trained:
            return start
        down = Decoder(start.decoder.blocks, level, end=level - 1)
        params = {name: start.params[name] for name in down.layers()}

        def watch(report: Report) -> None:
            if report.step % REPORT_EVERY == 0:
                error = report.losses["features"][-1]
                self.info(level, f"down, step {report.step}: error {error:.3f}")

        loss = StepDown(self.network, down)
        params = self.train(f"level{level}-down", loss, params, self.down_settings, watch)
        return dataclasses.replace(start, params=self.trained[level - 1] | params)

    def info(self, level: int, text: str) -> None:
        """Print a line."""
        self.progress.console.print(f"level {level} {text}", highlight=False)


def _load_network(arguments: argparse.Namespace) -> LossNetwork:
    """Load the network, if it has the levels."""
    name, crop = arguments.network, arguments.crop
    if not isinstance(lookup("network", name, NETWORKS).module, VGG):
        known = ", ".join(known for known, row in NETWORKS.items() if isinstance(row.module, VGG))
        raise ValueError(f"--network {name} has no levels, which only VGGs have: give {known}")
    network = jaxnst.load_network(name, weights=arguments.weights)
    for level in arguments.levels:
        layer = f"relu{level}_1"
        if crop < (least := network.table[network.resolve(layer)].least):
            raise ValueError(f"--crop is {crop}, but {layer} needs at least {least} pixels")
    return network


def _parser() -> Parser:
    parser = Parser(
        prog=PROG,
        description=__doc__.split("\n", 1)[0],
        epilog="Exit status: 0 done, 1 something failed during training, 2 flags, or the files "
        "that they name, cannot be used, 130 stopped by Ctrl-C: what is learned is saved, and the "
        "same command resumes.",
    )
    defaults = Training(rate=4e-3, warmup=100)

    def add(flag: str, default: object, read: Callable[[str], Any], text: str) -> None:
        parser.add_argument(flag, default=default, type=read, help=f"{text} (default: {default})")

    parser.add_argument("--images", type=Path, required=True, help="folder of training pictures")
    parser.add_argument("--network", default="vgg19-lite", help="a VGG")
    parser.add_argument("--weights", help="its parameters, if they are not bundled")
    levels = ",".join(map(str, SHARES))
    add("--levels", levels, integers(min(SHARES), max(SHARES)), "levels, separated by commas")
    parser.add_argument("--begin", type=Path, help="file of decoders whose levels are trained on")
    add("--feature-weight", 0.01, number, "weight of features; less gives more accurate pixels")
    add("--down-steps", 1200, integer(1), "steps for the layers between two levels")
    add("--down-rate", 4e-3, number, "their largest learning rate")
    parser.add_argument("--held-out", help="names of held-out pictures, without endings: A,B,...")
    add("--out", Path("runs/decoders"), Path, "folder of results")
    add("--workers", 0, integer(0, 256), "processes that decode pictures")
    add("--steps", defaults.steps, integer(1), "steps of each level")
    add("--batch", defaults.batch, integer(1, 1024), "crops in each step")
    add("--crop", defaults.crop, integer(16, 4096), "side of the crops, pixels")
    add("--rate", defaults.rate, number, "largest learning rate of level 2; others have less")
    add("--warmup", defaults.warmup, integer(0), "steps over which the learning rate rises")
    add("--seed", 0, integer(*SEEDS), "seed of the initial parameters and the crops")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    messages = Messages(PROG, quiet=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with (
        messages.warnings_as_notices(),
        Progress(*columns, disable=not sys.stdout.isatty()) as progress,
    ):
        try:
            trainer = Trainer(arguments, progress, messages)
        except (KeyError, OSError, ValueError) as error:
            raise UsageError(explain(error)) from error
        status = _train_until_stopped(trainer)
    if not status:
        print(trainer.path)
    return status


def _train_until_stopped(trainer: Trainer) -> int:
    """Train until the end, or stop after the current step when a signal arrives."""
    messages, status = trainer.messages, 0
    running = ThreadPoolExecutor(1).submit(trainer.train_all)
    try:
        stoppable(running.result)
    except Stopped as stopped:
        status = stopped.status
        trainer.stop.set()
        messages.info(f"{PROG}: stopping after this step; a second Ctrl-C stops at once")
    try:
        running.result()
    except Interrupted as interrupted:
        saved = [*(f"level {level}" for level in trainer.finished), *interrupted.args]
        messages.info(
            f"{PROG}: stopped; saved: {', '.join(saved) or 'nothing yet'}; the same command resumes"
        )
        return status
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = _parser().read(sys.argv[1:] if arguments is None else arguments)
    return guarded(PROG, lambda: _run(parsed), debug=parsed.debug)


if __name__ == "__main__":
    sys.exit(main())

"""How ``train_decoders.py`` trains: level after level, watched, kept and written."""

import argparse
import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from decoder_losses import Reconstruction, StepDown, beginning, solved
from pictures import centre_crops, divided, left_out
from reconstruction import given_back, psnr
from rich.progress import Progress

import jaxnst
from jaxnst._checks import lookup, not_negative, positive
from jaxnst._files import check_writable, name_of
from jaxnst.cli.messages import Messages
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

SAMPLES = 4
REPORT_EVERY = 250
SHARES = {1: 0.04, 2: 1.0, 3: 0.35, 4: 0.12, 5: 0.04}  # of the rate, by level
MORE = 4  # times as many crops for what leads a level down: deep maps have few positions
OF_TRAINING = ("steps", "batch", "crop", "rate", "warmup", "seed")
DECIDING = (*OF_TRAINING, "feature_weight", "down_steps", "down_rate")


class Enough(Exception):
    """Somebody wants no more of it. Says what is kept of the present level, if anything is."""


def write(path: Path, network: str, levels: dict[int, Any]) -> None:
    """Write decoders, deepest first."""
    found: dict[str, np.ndarray] = {}
    for level in sorted(levels, reverse=True):
        for layer, parts in levels[level].items():
            for part, values in parts.items():
                found[f"level{level}/{layer}/{part}"] = np.asarray(values, np.float16)
    write_parameters(path, found, metadata={"decoders_of": network})


class Watch:
    """Shows how far training is, and measures now and then what it is worth."""

    def __init__(
        self, level: Autoencoder, crops: Sequence[np.ndarray], out: Path, progress: Progress
    ) -> None:
        self.level, self.crops, self.progress = level, crops, progress
        self.path = out / f"samples{level.level}.png"
        self.task = progress.add_task(f"level {level.level}", total=None)

    def __call__(self, report: Report) -> None:
        """Take note of a step."""
        text = f"level {self.level.level}, loss {report.losses['total']:.4f}"
        progress = {"completed": report.step, "total": report.steps}
        self.progress.update(self.task, description=text, **progress)
        if report.step % REPORT_EVERY == 0 or report.step == report.steps:
            decibels = self.measure(report.params)
            text = f"step {report.step} {report.seconds:.0f} s: {decibels:.2f} dB"
            self.progress.console.print(f"level {self.level.level} {text}", highlight=False)

    def measure(self, params: Any) -> float:
        """Return the mean PSNR, and draw a sheet of samples."""
        one = partial(given_back, self.level, self.level.encoder.params, params)
        images = [np.asarray(one(jnp.asarray(crop))) for crop in self.crops]
        cells = [np.hstack(pair) for pair in zip(self.crops, images, strict=True)]
        rows = [[("picture, given back", cell)] for cell in cells[:SAMPLES]]
        jaxnst.save_image(self.path, contact_sheet(rows, height=cells[0].shape[0]))
        return float(np.mean([psnr(*pair) for pair in zip(images, self.crops, strict=True)]))


class Trainer:
    """Trains levels, shallow to deep.

    Args:
      arguments: Of the command line.
      progress: Where it is shown.
      messages: Where else a person is told something.

    Raises:
      KeyError: There is no such network.
      OSError: A file is not there, or ``--out`` cannot be written to.
      ValueError: A number, the network, a file of decoders or the pictures cannot be used.

    Attributes:
      enough: Set it to end after the present step.
      finished: Levels that are trained and written.
    """

    def __init__(
        self, arguments: argparse.Namespace, progress: Progress, messages: Messages
    ) -> None:
        self.arguments, self.progress, self.messages = arguments, progress, messages
        self.enough, self.finished = threading.Event(), list[int]()
        self.settings = Training(**{name: getattr(arguments, name) for name in OF_TRAINING})
        not_negative("feature weight", arguments.feature_weight)
        positive("rate of what leads a level down", arguments.down_rate)
        self.down = dataclasses.replace(
            self.settings,
            steps=arguments.down_steps,
            rate=arguments.down_rate,
            batch=MORE * self.settings.batch,
        )
        self.path = arguments.out / "decoders.safetensors"
        _make(arguments.out)
        check_writable(self.path)
        self.network = _network(arguments)
        found = find_pictures(arguments.images, side=self.settings.crop)
        for text in left_out(found, self.settings.crop):
            messages.notice(text)
        self.damaged = set[int]()
        self.pictures, out = divided(found, arguments.held_out)
        chosen = arguments.held_out is not None
        self.crops = centre_crops(out, 256, None if chosen else messages.notice)
        known = partial(load_autoencoders, self.network)
        self.begun = {} if arguments.begin is None else known(decoders=arguments.begin)
        there = (known(decoders=self.path) if self.path.exists() else {}) | self.begun
        self.done = {level: autoencoder.params for level, autoencoder in there.items()}
        self.words = self.deciding()

    def deciding(self) -> dict[str, str]:
        """Say all that decides what is learned, by name."""
        begin = self.arguments.begin
        return {
            **{name: str(getattr(self.arguments, name)) for name in DECIDING},
            "pictures": DIGEST + self.pictures.digest,
            "begin": DIGEST + sha256(begin.read_bytes()).hexdigest() if begin else "nothing",
            **network_words(self.network),
        }

    def cut(self, settings: Training, start: int) -> Iterator[Batch]:
        """Cut batches, from a number on."""
        side, batch, seed = settings.crop, settings.batch, settings.seed
        workers = self.arguments.workers
        return batches(
            self.pictures, side=side, batch=batch, seed=seed, start=start, workers=workers
        )

    def run(self, name: str, loss: Any, params: Any, settings: Training, watch: Any) -> Any:
        """Train, or go on from the checkpoint of that name.

        Raises:
          Enough: It was stopped on the way.
        """
        cut, frozen = partial(self.cut, settings), self.network.params
        how = {"callback": partial(self.news, watch), "stop": self.enough.is_set}
        with contextlib.closing(Checkpoints(self.arguments.out / name, self.words)) as keeper:
            if keeper.last is not None and keeper.last < settings.steps:
                self.messages.notice(f"going on with {name} after {keeper.last} steps")
            trained = train(loss, params, frozen, cut, settings, checkpoints=keeper, **how)
        if trained.step < settings.steps:
            raise Enough(f"{name} after {trained.step} of {settings.steps} steps")
        return jax.tree.map(jnp.asarray, trained.params)

    def news(self, watch: Callable[[Report], None], report: Report) -> None:
        """Take note of a step, and of pictures that turned out to be damaged."""
        for index in {*report.broken} - self.damaged:
            self.damaged.add(index)
            name = name_of(self.pictures.path(index))
            self.messages.notice(f"{name} is damaged, another is taken")
        watch(report)

    def heeding(self, source: Iterator[Batch]) -> Iterator[Batch]:
        """Hand batches on until it is enough.

        Raises:
          Enough: It is.
        """
        with contextlib.closing(source):
            for batch in source:
                if self.enough.is_set():
                    raise Enough
                yield batch

    def all(self) -> None:
        """Train every level.

        Raises:
          Enough: It was stopped on the way.
        """
        for level in sorted(set(self.arguments.levels)):
            self.level(level)

    def level(self, level: int) -> None:
        """Train one level, and write it beside the others."""
        if self.enough.is_set():
            raise Enough
        start = self.first(level)
        watch = Watch(start, self.crops, self.arguments.out, self.progress)
        self.info(level, f"begins with {watch.measure(start.params):.2f} dB")
        loss = Reconstruction(start, self.arguments.feature_weight)
        own = dataclasses.replace(self.settings, rate=SHARES[level] * self.settings.rate)
        self.done[level] = self.run(f"level{level}", loss, start.params, own, watch)
        self.info(level, f"has {watch.measure(self.done[level]):.2f} dB")
        write(self.path, self.arguments.network, self.done)
        self.finished.append(level)

    def first(self, level: int) -> Autoencoder:
        """Return a level as it is before all of it is trained."""
        if level in self.begun:
            return self.begun[level]
        settings = self.settings
        some = jnp.asarray(next(self.cut(settings, settings.steps)).images / np.float32(255))
        start = beginning(self.network, level, some, settings.seed)
        if level == 1:
            source = self.heeding(self.cut(settings, 0))
            return make_autoencoder(self.network, 1, solved(start, source))
        if level - 1 not in self.done:
            return start
        down = Decoder(start.decoder.blocks, level, end=level - 1)
        new = {name: start.params[name] for name in down.layers()}
        loss = StepDown(self.network, down)
        new = self.run(f"level{level}-down", loss, new, self.down, self.lead(level))
        return dataclasses.replace(start, params=self.done[level - 1] | new)

    def lead(self, level: int) -> Callable[[Report], None]:
        """Show how far what leads a level down is."""

        def told(report: Report) -> None:
            if report.step % REPORT_EVERY == 0:
                self.info(level, f"down, step {report.step}: error {report.losses['features']:.3f}")

        return told

    def info(self, level: int, text: str) -> None:
        """Print a line."""
        self.progress.console.print(f"level {level} {text}", highlight=False)


def _make(folder: Path) -> None:
    """Make the folder of results.

    Raises:
      NotADirectoryError: There is a file of that name.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            f"--out {name_of(folder)} is a file, expected a folder: name another"
        )
    os.makedirs(folder, exist_ok=True)


def _network(arguments: argparse.Namespace) -> LossNetwork:
    """Load the network, if it has the levels.

    Raises:
      KeyError: Its parameters end before one of them.
      ValueError: It is no VGG, or not known, or the crops are too small for a level.
    """
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

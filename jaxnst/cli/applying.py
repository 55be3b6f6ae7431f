"""The work of ``jaxnst apply``: one input after the other, the next picture read meanwhile.

An input that fails costs only itself.
"""

import argparse
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxnst import video as film
from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError, explain
from jaxnst.cli.manifest import Row
from jaxnst.cli.messages import Messages, length, print_path, shape
from jaxnst.cli.outputs import tell_of_replacing
from jaxnst.cli.results_log import ResultsLog, inputs
from jaxnst.cli.saving import save_options, save_picture
from jaxnst.image import (
    ENDINGS,
    NoPictureError,
    check_side,
    fill_hidden,
    fit,
    holds_alpha,
    load_image,
    resize,
    resize_rgba,
)
from jaxnst.image.color import Pixels

if TYPE_CHECKING:
    import jax

    from jaxnst.feedforward import Model

AT_ONCE = 4
"""Most pictures of a film at a time, unless the person says how many."""

PIXELS_AT_ONCE = 4_000_000
"""About as many pixels are painted at a time, if that is more than one picture."""

PATIENCE = 30.0
"""Seconds that a stopped work is waited for, so that it clears away what it has begun."""


class _Ended(Exception):
    """Nobody waits for the result any more."""


class Work:
    """All that is to be painted.

    Args:
      rows: Input, model and output.
      settings: Digest of what decides a result beside them.
      ledger: The log, or None for a single result.
      flags: Of the command.
      messages: Where progress is told.
    """

    def __init__(
        self,
        rows: list[Row],
        settings: str,
        ledger: ResultsLog | None,
        flags: argparse.Namespace,
        messages: Messages,
    ) -> None:
        self.rows, self.settings, self.ledger = rows, settings, ledger
        self.flags, self.messages = flags, messages
        self.failed = 0
        self.stopped, self.over = threading.Event(), threading.Event()

    def all(self) -> int:
        """Paint everything; return how many inputs failed.

        Raises:
          Exception: The model cannot be loaded, or the only input failed.
        """
        try:
            begin = time.monotonic()
            device, model = self.open()
            if self.ledger is None:
                tell_of_replacing(self.rows[0].output, self.flags, self.messages)
            for i, (row, loading) in enumerate(self.read_ahead()):
                self.messages.now_and_then(f"{i}/{len(self.rows)} inputs")
                self.one(row, loading, model, device)
            if self.ledger is not None and not self.stopped.is_set():
                done = len(self.rows) - self.failed
                seconds = length(time.monotonic() - begin)
                self.messages.say(f"done: {done}, failed: {self.failed}, in {seconds}")
            return self.failed
        finally:
            self.over.set()

    def end(self) -> None:
        """Stop, and wait until what was begun has been cleared away."""
        self.stopped.set()
        self.over.wait(PATIENCE)

    def open(self) -> "tuple[jax.Device, Model]":
        """Choose the device and load the model."""
        from dataclasses import replace

        from jaxnst.cli.device import keep_programs, use_device
        from jaxnst.feedforward import load_model

        device = use_device(self.flags.device)
        if not self.flags.no_cache:
            keep_programs(self.messages.notice)
        model = load_model(self.rows[0].styles[0])
        module = model.module.clone(precision=self.flags.precision)
        return device, replace(model, module=module)

    def read_ahead(self) -> "Iterator[tuple[Row, Future[Pixels] | None]]":
        """Go through the inputs, and read the next picture while one is painted."""
        with ThreadPoolExecutor(1, "jaxnst-read") as reader:

            def begin(row: Row) -> "Future[Pixels] | None":
                kind = Path(row.content).suffix.lower()
                return None if kind in film.ENDINGS else reader.submit(self.load, row)

            waiting = begin(self.rows[0])
            for row, following in zip(self.rows, [*self.rows[1:], None], strict=True):
                now, waiting = waiting, begin(following) if following else None
                if self.stopped.is_set():
                    return
                yield row, now

    def one(
        self, row: Row, loading: "Future[Pixels] | None", model: "Model", device: "jax.Device"
    ) -> None:
        """Paint an input, whatever it is."""
        begin = time.monotonic()
        try:
            found = look(row) if loading is None else loading.result()
            seen = inputs(row) if self.ledger else []
            if isinstance(found, film.Film):
                self.film(row, found, model, device)
            else:
                self.picture(row, found, model, device)
        except _Ended:
            return
        except Exception as error:
            if self.ledger is None:
                raise
            self.failed += 1
            text = explain(error)
            self.ledger.write(row, self.settings, error=text)
            self.messages.say(f"{self.messages.prog}: {name_of(row.output)} failed: {text}")
            return
        if self.ledger is not None:
            seconds = round(time.monotonic() - begin, 2)
            self.ledger.write(row, self.settings, inputs=seen, seconds=seconds, error=None)
        print_path(row.output)

    def load(self, row: Row) -> Pixels:
        """Read a picture, not larger than wanted."""
        try:
            picture = load_image(row.content, alpha=True)
        except NoPictureError as error:
            if Path(row.content).suffix.lower() in ENDINGS:
                raise
            raise ValueError(
                f"{name_of(row.content)} is neither a picture nor a film by its ending, expected "
                f"one of {', '.join((*ENDINGS, *film.ENDINGS))}"
            ) from error
        longest = max(picture.shape[:2])
        if self.flags.size is not None and self.flags.size < longest:
            reduce = resize_rgba if picture.shape[2] == 4 else resize
            picture = reduce(picture, fit(picture.shape[:2], self.flags.size)).clip(0, 1)
        check_side(picture, row.content)
        return picture

    def picture(self, row: Row, picture: Pixels, model: "Model", device: "jax.Device") -> None:
        """Paint and save a picture; its transparency stays where the file can hold it."""
        from jaxnst.cli.device import forget_programs, refuse_too_large
        from jaxnst.feedforward import apply_model

        forget_programs()
        module = model.module
        refuse_too_large(picture.shape[:2], module.widths[0], device, precision=module.precision)
        seen = fill_hidden(picture) if picture.shape[2] == 4 else picture
        painted = np.asarray(apply_model(model, seen))
        if picture.shape[2] == 4:
            painted = np.concatenate([painted, picture[..., 3:]], axis=-1)
            if not holds_alpha(row.output):
                self.messages.notice(
                    f"{name_of(row.content)} is transparent, which {name_of(row.output)} cannot "
                    "be: the result is laid on white; .png, .webp and .tif keep it"
                )
        save_picture(row.output, painted, **save_options(self.flags))

    def film(self, row: Row, facts: film.Film, model: "Model", device: "jax.Device") -> None:
        """Paint and save a film."""
        from jaxnst.cli.device import refuse_too_large
        from jaxnst.feedforward import paint_frames

        size = facts.fitting(self.flags.size)
        at_once = max(1, min(AT_ONCE, PIXELS_AT_ONCE // (size[0] * size[1])))
        batch = self.flags.batch or at_once
        way = "--size or --batch" if batch > 1 else "--size"
        width, precision = model.module.widths[0], model.module.precision
        refuse_too_large(size, width, device, batch=batch, precision=precision, way=way)
        notices = film.repaint(
            row.content,
            row.output,
            partial(paint_frames, model),
            film=facts,
            size=size,
            batch=batch,
            tell=Clock(row, facts, size, self),
        )
        for notice in notices:
            self.messages.notice(notice)


def look(row: Row) -> film.Film:
    """Look at a film.

    Raises:
      UsageError: PyAV is missing.
      FileNotFoundError: There is no such file.
      ValueError: It is no film.
    """
    try:
        return film.read_film(row.content)
    except ModuleNotFoundError as error:
        raise UsageError(str(error)) from error


class Clock:
    """Tells every few seconds how far a film is, and for how long it still goes on."""

    def __init__(self, row: Row, facts: film.Film, size: tuple[int, int], work: Work) -> None:
        self.name, self.facts, self.size, self.work = name_of(row.content), facts, size, work
        self.first: tuple[int, float] | None = None

    def __call__(self, done: int) -> None:
        """Take in how many pictures are done.

        Raises:
          _Ended: The work has been stopped.
        """
        if self.work.stopped.is_set():
            raise _Ended
        now = time.monotonic()
        if self.first is None:
            self.first = done, now  # before that, it was compiled
        of = "" if self.facts.count is None else f"/{self.facts.count}"
        words = [f"{self.name}: {done}{of} pictures of {shape(self.size)}"]
        count, begin = self.first
        if self.facts.count and done > count:
            left = max(0, self.facts.count - done) * (now - begin) / (done - count)
            words.append(f"{length(left)} left")
        self.work.messages.now_and_then(", ".join(words))

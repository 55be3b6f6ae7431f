"""Batches painted by the workers of a Ray cluster, which :mod:`jaxnst.cli.cluster` starts.

A worker keeps the network, its compiled programs and the summaries of styles from batch to batch. A
batch whose worker is lost goes to the next one that is free.
"""

import contextlib
import dataclasses
import os
import queue
import threading
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnst
from jaxnst.cli.device import Wanted, keep_programs, use_device
from jaxnst.cli.engine import EngineError, LocalEngine, Order, Outcome
from jaxnst.cli.errors import explain
from jaxnst.networks import LossNetwork
from jaxnst.recipes.schema import Recipe
from jaxnst.transfer.pyramid import Schedule

TRIES = 3
"""Workers that a batch may cost, before it is taken for what costs them."""


class Painter:
    """A worker: what Ray calls an actor. It makes its engine once it is first called.

    Args:
      version: Of the jaxnst that asks.
      device: Kind of device to paint on.
      cores: Of a CPU; None: an accelerator paints.
      deterministic: As for :func:`use_device`.
      cache: Whether to keep compiled programs.
    """

    def __init__(
        self, version: str, device: Wanted, cores: int | None, deterministic: bool, cache: bool
    ) -> None:
        self.version, self.device, self.cores = version, device, cores
        self.deterministic, self.cache = deterministic, cache
        self.made: LocalEngine | None = None

    def engine(self, network: LossNetwork) -> LocalEngine:
        """Return what paints; a worker that was started again makes it again."""
        if self.made is None:
            if self.version != jaxnst.__version__:
                raise ValueError(f"it has jaxnst {jaxnst.__version__}, expected {self.version}")
            if self.cores is not None:
                os.environ["PJRT_NPROC"] = str(self.cores)  # XLA would take all there are
            device = use_device(self.device, deterministic=self.deterministic)
            if self.cache:
                keep_programs(lambda _: None)
            params = jax.tree.map(jnp.asarray, network.params)
            self.made = LocalEngine(dataclasses.replace(network, params=params), [device])
        return self.made

    def start(self, network: LossNetwork) -> None:
        """Make all ready."""
        self.engine(network)

    def most(
        self,
        network: LossNetwork,
        schedule: Schedule,
        recipe: Recipe,
        allowed: int | None,
        pictures: int,
    ) -> int | None:
        """Work out how many lanes fit into memory."""
        return self.engine(network).most(schedule, recipe, allowed, pictures)

    def paint(self, network: LossNetwork, order: Order) -> list[Outcome]:
        """Paint a batch."""
        return self.engine(network).paint(order, lambda _: None)


class RayEngine:
    """The workers of a cluster that this process is connected to.

    Args:
      ray: The library.
      network: The loss network.
      painters: Handles of the workers.
      together: How many of them share a machine's memory.
      threads: Of a CPU that each of them has; None: they have GPUs.
    """

    devices = 1

    def __init__(
        self,
        ray: ModuleType,
        network: LossNetwork,
        painters: list[Any],
        together: int,
        threads: int | None,
    ) -> None:
        self.ray, self.network, self.painters, self.together = ray, network, painters, together
        self.threads = threads
        self.workers = self.there = len(painters)
        self.idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.counting, self.closed = threading.Lock(), False
        # In Ray's store, from where each worker takes it, with parameters that need no device.
        params = jax.tree.map(np.asarray, network.params)
        self.stored = ray.put(dataclasses.replace(network, params=params))
        for painter in painters:
            self.expect(painter)

    def most(
        self, schedule: Schedule, recipe: Recipe, allowed: int | None, pictures: int
    ) -> int | None:
        """Ask a worker how many lanes fit into memory."""
        given = schedule, recipe, allowed, pictures
        found: int | None = self.ask("most", *given, tell=lambda _: None)
        return found if found is None else max(1, found // self.together)

    def paint(self, order: Order, tell: Callable[[str], None]) -> list[Outcome]:
        """Have a batch painted by the next worker that is free."""
        results: list[Outcome] = self.ask("paint", order, tell=tell)
        return results

    def ask(self, method: str, *given: Any, tell: Callable[[str], None]) -> Any:
        """Call a method of a worker; if that is lost, of another one.

        Raises:
          EngineError: There is no worker any more.
          MemoryError: It costs one worker after the other, for want of memory most likely.
          Exception: What the method raised.
        """
        failures = self.ray.exceptions
        for _ in range(TRIES):
            painter = self.take(tell)
            try:
                asked = getattr(painter, method).remote(self.stored, *given)
                while not self.ray.wait([asked], timeout=1)[0]:
                    tell(f"{self.there} workers")
                found = self.ray.get(asked)
            except failures.RayTaskError as error:
                self.idle.put(painter)
                raise error.cause from None
            except Exception as error:
                if self.closed or not isinstance(error, failures.RayError):
                    raise EngineError(f"Ray is gone: {last_line(error)}") from error
                self.expect(painter)
                continue
            self.idle.put(painter)
            return found
        raise MemoryError(f"{TRIES} workers were lost")

    def take(self, tell: Callable[[str], None]) -> Any:
        """Wait for a free worker."""
        while True:
            try:
                painter = self.idle.get(timeout=1)
            except queue.Empty:
                tell("no worker is free yet")
                continue
            if isinstance(painter, EngineError):
                self.idle.put(painter)  # for whoever else waits
                raise painter
            return painter

    def expect(self, painter: Any) -> None:
        """Count a worker as free when it is ready, for the first time or again."""
        start = painter.start.options(max_task_retries=TRIES).remote(self.stored)
        start.future().add_done_callback(partial(self.came, painter))

    def came(self, painter: Any, start: Any) -> None:
        """Take in a worker that is ready, or cannot be."""
        error = start.exception()
        if error is None:
            self.idle.put(painter)
            return
        with self.counting:
            self.there -= 1
        if not self.there:
            cause = getattr(error, "cause", None)
            text = explain(cause) if isinstance(cause, Exception) else last_line(error)
            self.idle.put(EngineError(f"no worker of Ray could start: {text}"))

    def close(self) -> None:
        """End the workers, and Ray if it was started here."""
        if not self.closed:
            self.closed = True
            for painter in self.painters:
                with contextlib.suppress(Exception):
                    self.ray.kill(painter)
            self.ray.shutdown()


def last_line(said: object) -> str:
    """Return what an error comes down to: Ray puts a traceback before it."""
    return (str(said).strip() or type(said).__name__).splitlines()[-1]

"""Batches painted by the workers of a Ray cluster, which may be started for it.

Ray starts the workers, places them, starts them again when they are lost, and carries arrays. A
worker keeps the network, its compiled programs and the summaries of styles from batch to batch. A
batch whose worker is lost goes to the next one that is free.
"""

import contextlib
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnst
from jaxnst._files import reason
from jaxnst.cli.device import Wanted, keep_programs, use_device
from jaxnst.cli.engine import EngineError, LocalEngine, Order, Outcome, Report
from jaxnst.cli.errors import UsageError, explain
from jaxnst.cli.job import open_network
from jaxnst.cli.parser import RunFlags
from jaxnst.networks import LossNetwork
from jaxnst.recipes.schema import Recipe
from jaxnst.transfer.pyramid import Schedule

PATIENCE = 30.0
"""Seconds to wait for a cluster: Ray itself would wait for ever."""

TRIES = 3
"""Workers that may be lost with a batch before the batch is taken for the reason."""


class Painter:
    """A worker: what Ray calls an actor.

    ``cores`` is how many cores of a CPU it paints on; None: it paints on an accelerator.
    ``version`` is that of jaxnst in the process that started it.
    """

    def __init__(
        self, version: str, device: Wanted, cores: int | None, deterministic: bool, cache: bool
    ) -> None:
        self.version, self.device, self.cores = version, device, cores
        self.deterministic, self.cache = deterministic, cache
        self.made: LocalEngine | None = None

    def engine(self, network: LossNetwork) -> LocalEngine:
        """Return what paints, made on the first call: also after Ray has started it again."""
        if self.made is None:
            if self.version != jaxnst.__version__:
                raise ValueError(f"it has jaxnst {jaxnst.__version__}, expected {self.version}")
            if self.cores is not None:
                os.environ["PJRT_NPROC"] = str(self.cores)  # XLA would use all there are
            device = use_device(self.device, deterministic=self.deterministic)
            keep_programs(lambda _: None, unless=not self.cache)
            params = jax.tree.map(jnp.asarray, network.params)
            self.made = LocalEngine(replace(network, params=params), [device])
        return self.made

    def start(self, network: LossNetwork) -> None:
        """Make the engine."""
        self.engine(network)

    def most(self, network: LossNetwork, *kind: Any) -> int | None:
        """Return how many lanes fit into memory."""
        return self.engine(network).most(*kind)

    def paint(self, network: LossNetwork, order: Order) -> Sequence[Outcome]:
        """Paint a batch."""
        return self.engine(network).paint(order, lambda *_: None)


class RayEngine:
    """The workers of a cluster that this process is connected to.

    ``painters`` are their handles, ``sharing`` is how many of them share a machine's memory, and
    ``threads`` how many of a CPU each of them has; None: they have GPUs.
    """

    devices = 1

    def __init__(
        self,
        ray: ModuleType,
        network: LossNetwork,
        painters: list[Any],
        sharing: int,
        threads: int | None,
    ) -> None:
        self.ray, self.network, self.painters = ray, network, painters
        self.sharing, self.threads = sharing, threads
        self.platform = "gpu" if threads is None else "cpu"
        self.workers = self.alive = len(painters)
        self.idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.counting, self.closed = threading.Lock(), False
        # Workers take it from Ray's store, so its parameters may not be on a device.
        params = jax.tree.map(np.asarray, network.params)
        self.stored = ray.put(replace(network, params=params))
        for painter in painters:
            self.expect(painter)

    def most(
        self, schedule: Schedule, recipe: Recipe, allowed: int | None, pictures: int
    ) -> int | None:
        """Ask a worker how many lanes fit into memory."""
        count: int | None = self.call("most", schedule, recipe, allowed, pictures)
        return count if count is None else max(1, count // self.sharing)

    def paint(self, order: Order, report: Report) -> Sequence[Outcome]:
        """Have a batch painted by the next worker that is free."""
        return self.call("paint", order, report=report)

    def call(self, method: str, *arguments: Any, report: Report = lambda *_: None) -> Any:
        """Call a method of a free worker; if that is lost, of another one.

        Raises:
          EngineError: There is no worker any more.
          MemoryError: Several workers were lost with it, most likely for want of memory.
          Exception: What the method raised.
        """
        failures = self.ray.exceptions
        for _ in range(TRIES):
            painter = self.next_idle(report)
            try:
                task = getattr(painter, method).remote(self.stored, *arguments)
                while not self.ray.wait([task], timeout=1)[0]:
                    report(0, f"{self.alive} workers")
                result = self.ray.get(task)
            except failures.RayTaskError as error:
                self.idle.put(painter)
                raise error.cause from None
            except Exception as error:
                if self.closed or not isinstance(error, failures.RayError):
                    raise EngineError(f"Ray is gone: {last_line(error)}") from error
                self.expect(painter)
                continue
            self.idle.put(painter)
            return result
        raise MemoryError(f"{TRIES} workers were lost")

    def next_idle(self, report: Report) -> Any:
        """Wait for a free worker."""
        while True:
            try:
                painter = self.idle.get(timeout=1)
            except queue.Empty:
                report(0, "no worker is free yet")
                continue
            if isinstance(painter, EngineError):
                self.idle.put(painter)  # for other threads that wait
                raise painter
            return painter

    def expect(self, painter: Any) -> None:
        """Count a worker as free when it is ready, for the first time or again."""
        start = painter.start.options(max_task_retries=TRIES).remote(self.stored)
        start.future().add_done_callback(partial(self.started, painter))

    def started(self, painter: Any, start: Any) -> None:
        """Add a worker that is ready to the free ones; count one that cannot start as lost."""
        error = start.exception()
        if error is None:
            self.idle.put(painter)
            return
        with self.counting:
            self.alive -= 1
        if not self.alive:
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


def last_line(error: object) -> str:
    """Return the last line of an error: Ray puts a traceback before it."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def open_ray(
    flags: RunFlags, recipe: Recipe, *, address: str | None, workers: int | None
) -> RayEngine:
    """Connect to a cluster, or start one on this machine, and its workers.

    The flags and the recipe are those of the first row. Without an address it is that of
    RAY_ADDRESS, or a new cluster; without a number of workers there is one for each GPU, or for
    each machine if there is none.

    Raises:
      UsageError: There is no Ray, no such cluster, or not as much in it.
      OSError: The network's parameters cannot be read.
      ValueError: They are damaged, or those of another network.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it gives a warning
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: pip install 'jaxnst[ray]'") from error
    # Or messages about lost workers come between the names of results, whatever log_to_driver is.
    ray._private.worker._worker_logs_enabled = False
    if flags.device and (flags.device[0] == "tpu" or flags.device[1] is not None):
        raise UsageError("--device: Ray chooses which; with --engine ray it is cpu or gpu")
    # Before JAX starts a device: a process that Ray starts is forked.
    _connect(ray, address or os.environ.get("RAY_ADDRESS") or "local")
    try:
        # On the CPU: the memory of this machine's GPU is a worker's.
        _, network = open_network(replace(flags, device=("cpu", None)), recipe)
        return _start(ray, network, flags, workers)
    except BaseException:
        ray.shutdown()
        raise


def _connect(ray: ModuleType, address: str) -> None:
    """Connect to a cluster; ``local`` starts one."""
    if address not in ("local", "auto"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if not (host and port.isdecimal() and int(port) < 2**16):
            raise UsageError(f"--address {address}: expected auto, HOST:PORT or ray://HOST:PORT")
    if address != "local" and (trouble := _trouble(address)):
        raise UsageError(
            f"--address {address}: no connection to a Ray cluster ({trouble}): is it there, and is "
            "RAY_AUTH_TOKEN its token, if it has one?"
        )
    more = {"include_dashboard": False} if address == "local" else {}
    # In this very thread: what Ray starts ends with it.
    ray.init(address=address, log_to_driver=False, logging_level="error", **more)


def _trouble(address: str) -> str:
    """Return why a cluster cannot be connected to; empty if it can be.

    Ray would try for ever, or end the process, and print: so another process tries first.
    """
    try:
        if address != "auto":
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), PATIENCE).close()
        code = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)"
        subprocess.run(
            [sys.executable, "-c", code, address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            text=True,
            timeout=PATIENCE,
        )
    except OSError as error:
        return reason(error)
    except subprocess.TimeoutExpired:
        return f"no answer in {PATIENCE:.0f} s"
    except subprocess.CalledProcessError as error:
        return last_line(error.stderr)
    return ""


def _start(
    ray: ModuleType, network: LossNetwork, flags: RunFlags, workers: int | None
) -> RayEngine:
    """Start the workers."""
    kind = flags.device[0] if flags.device else None
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    name = "CPU" if kind == "cpu" or not any(node.get("GPU") for node in nodes) else "GPU"
    if name == "CPU" and kind == "gpu":
        raise UsageError("--device gpu: the Ray cluster has none")
    counts = [n for node in nodes if (n := int(node.get(name, 0)))]
    if workers is None:
        workers = len(counts) if name == "CPU" else sum(counts)
    if not 0 < workers <= sum(counts):
        raise UsageError(f"--workers {workers}: the Ray cluster has {sum(counts)} {name}s")
    cores, sharing = None, 1
    if name == "CPU":
        # As many cores for each as are free for all of them.
        cores = max(n for n in range(1, max(counts) + 1) if sum(c // n for c in counts) >= workers)
        sharing = -(-workers // len(counts))
    painter = ray.remote(Painter).options(
        num_cpus=cores or 1, num_gpus=0 if cores else 1, max_restarts=-1
    )
    arguments = (name.lower(), None), cores, flags.deterministic, not flags.no_cache
    painters = [painter.remote(jaxnst.__version__, *arguments) for _ in range(workers)]
    return RayEngine(ray, network, painters, sharing, cores)

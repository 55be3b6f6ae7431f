"""Rows of the table, the clock, and what is known of the machine."""

import importlib.util
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import jax

PAUSE = 0.05
IDLE_LOAD = 0.5
PACKAGES = ("jaxnst", "jax", "jaxlib", "jaxopt", "flax", "optax", "numpy", "torch")
# Variables that change timings.
VARIABLES = ("MALLOC_", "LD_PRELOAD", "OMP_", "MKL_", "KMP_", "XLA_", "JAX_", "GLIBC_TUNABLES")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
      benchmark: Which question it belongs to.
      case: Network and size.
      what: What was timed.
      seconds: Every timing, in the order taken; empty where there is only a note.
      ratio: To what the question compares with, medians.
      bar: Greatest ratio that is good enough, or None.
      note: Why there is no timing, or what else to know.
      details: Whatever belongs into the record: losses, counts, options.
    """

    benchmark: str
    case: str
    what: str
    seconds: tuple[float, ...] = ()
    ratio: float | None = None
    bar: float | None = None
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def cells(self) -> tuple[str, ...]:
        """Return the row as the table shows it."""
        shown = ("", "", "")
        if self.seconds:
            low, high = spread(self.seconds)
            shown = (
                f"{1000 * median(self.seconds):.1f}",
                f"{1000 * low:.1f} to {1000 * high:.1f}",
                str(len(self.seconds)),
            )
        ratio = "" if self.ratio is None else f"{self.ratio:.3f}"
        if self.ratio is not None and self.bar is not None:
            ratio += f" ({'within' if self.ratio <= self.bar else 'ABOVE'} {self.bar:g})"
        return (self.benchmark, self.case, self.what, *shown, ratio, self.note)

    def record(self) -> dict[str, Any]:
        """Return the row as the JSON file holds it."""
        record: dict[str, Any] = {"case": self.case, "what": self.what, **self.details}
        if self.seconds:
            record |= {"median_seconds": median(self.seconds), "seconds": list(self.seconds)}
        if self.ratio is not None:
            record |= {"ratio": self.ratio, "bar": self.bar}
        return record | ({"note": self.note} if self.note else {})


COLUMNS = ("benchmark", "case", "what", "median ms", "quartiles", "runs", "ratio", "note")


def spread(seconds: tuple[float, ...]) -> tuple[float, float]:
    """Return the first and third quartile."""
    if len(seconds) == 1:
        return seconds[0], seconds[0]
    low, _, high = quantiles(seconds, n=4, method="inclusive")
    return low, high


def timed(task: Callable[[], object]) -> float:
    """Return how many seconds a task takes; it must wait for its own result."""
    begin = time.perf_counter()
    task()
    return time.perf_counter() - begin


def interleaved(tasks: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time several tasks by turns, so that whatever else the machine does meets all alike.

    Before each timing the task runs once untimed: the threads of the one before may still be
    spinning, and the caches are its own. Every other round goes backwards.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds):
        for name in list(tasks) if number % 2 == 0 else reversed(list(tasks)):
            time.sleep(PAUSE)
            tasks[name]()
            seconds[name].append(timed(tasks[name]))
    return seconds


def machine() -> dict[str, Any]:
    """Describe the machine, its load, and the versions that were measured."""
    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "cpu": _cpu_name(),
        "cores": _cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "nice": os.nice(0) if hasattr(os, "nice") else None,
        "torch_threads": _torch_threads(),
        "environment": {k: v for k, v in os.environ.items() if k.startswith(VARIABLES)},
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def load() -> float | None:
    """Return how many processes ran or waited to over the last minute, where that is known."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def load_warning(before: float | None) -> str:
    """Return a line to print when the machine was not idle, else an empty one."""
    if before is None or before <= IDLE_LOAD:
        return ""
    return (
        f"warning: the load average was {before:.2f} before the first timing, expected at most "
        f"{IDLE_LOAD:g}: times and ratios are not to be quoted; wait for an idle machine"
    )


def stolen() -> float | None:
    """Return the seconds, of all cores, that a virtual machine's host gave to others so far."""
    try:
        fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()
        return int(fields[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _torch_threads() -> int | None:
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return int(torch.get_num_threads())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the checkout's commit, with ``-dirty`` when the tree has changes."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()

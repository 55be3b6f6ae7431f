"""Ray: connecting to a cluster, or starting one, and workers in it.

Ray starts the workers, places them, starts them again when they are lost, and carries arrays.
"""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from types import ModuleType

import jaxnst
from jaxnst._files import reason
from jaxnst.cli.errors import UsageError
from jaxnst.cli.job import open_network
from jaxnst.cli.parser import RunFlags
from jaxnst.cli.ray_engine import Painter, RayEngine, last_line
from jaxnst.networks import LossNetwork
from jaxnst.recipes.schema import Recipe

PATIENCE = 30.0
"""Seconds that a cluster is waited for: Ray itself would wait for ever."""


def open_ray(
    flags: RunFlags, recipe: Recipe, *, address: str | None, workers: int | None
) -> RayEngine:
    """Connect to a cluster, or start one on this machine, and its workers.

    Args:
      flags: Of the first row.
      recipe: Of it.
      address: Of a cluster: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; None: what RAY_ADDRESS
        says, or none.
      workers: How many; None: one for each GPU, or for each machine where there is none.

    Raises:
      UsageError: There is no Ray, no such cluster, or not as much in it.
      OSError: As :func:`jaxnst.cli.job.open_network`.
      ValueError: As there.
    """
    ray = _library()
    if flags.device and (flags.device[0] == "tpu" or flags.device[1] is not None):
        raise UsageError("--device: Ray chooses which; with --engine ray it is cpu or gpu")
    # Before JAX starts a device: a process that Ray starts is forked.
    _connect(ray, address or os.environ.get("RAY_ADDRESS") or "local")
    try:
        here = replace(flags, device=("cpu", None))
        _, network = open_network(here, recipe)  # the memory of this machine's GPU is a worker's
        return _start(ray, network, flags, workers)
    except BaseException:
        ray.shutdown()
        raise


def _library() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it gives a warning
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: pip install 'jaxnst[ray]'") from error
    # Or what it says of lost workers comes between the names of results, whatever log_to_driver is.
    ray._private.worker._worker_logs_enabled = False
    return ray


def _connect(ray: ModuleType, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": "error"}
    if address == "local":
        # In this very thread: what Ray starts ends with it.
        ray.init(address="local", include_dashboard=False, **quiet)
        return
    if address != "auto":
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if not (host and port.isdecimal() and int(port) < 2**16):
            raise UsageError(f"--address {address}: expected auto, HOST:PORT or ray://HOST:PORT")
        try:
            socket.create_connection((host, int(port)), PATIENCE).close()
        except OSError as error:
            raise UsageError(_no_cluster(address, reason(error))) from error
    # Ray would try for ever, or end the process, and talk: let another process try first.
    code = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)"
    try:
        subprocess.run(
            [sys.executable, "-c", code, address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(_no_cluster(address, f"no answer in {PATIENCE:.0f} s")) from error
    except subprocess.CalledProcessError as error:
        raise UsageError(_no_cluster(address, last_line(error.stderr))) from error
    ray.init(address=address, **quiet)


def _no_cluster(address: str, why: str) -> str:
    return (
        f"--address {address}: no connection to a Ray cluster ({why}): is it there, and is "
        "RAY_AUTH_TOKEN its token, if it has one?"
    )


def _start(
    ray: ModuleType, network: LossNetwork, flags: RunFlags, workers: int | None
) -> RayEngine:
    kind = flags.device[0] if flags.device else None
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    name = "CPU" if kind == "cpu" or not any(node.get("GPU") for node in nodes) else "GPU"
    if name == "CPU" and kind == "gpu":
        raise UsageError("--device gpu: the Ray cluster has none")
    counts = [n for node in nodes if (n := int(node.get(name, 0)))]
    default = len(counts) if name == "CPU" else sum(counts)
    workers = default if workers is None else workers
    if not 0 < workers <= sum(counts):
        raise UsageError(f"--workers {workers}: the Ray cluster has {sum(counts)} {name}s")
    # As many cores for each as let all of them find room.
    cores = max(n for n in range(1, max(counts) + 1) if sum(c // n for c in counts) >= workers)
    painter = ray.remote(Painter).options(
        num_cpus=cores if name == "CPU" else 1,
        num_gpus=0 if name == "CPU" else 1,
        max_restarts=-1,
    )
    more = flags.deterministic, not flags.no_cache
    mine = (("cpu", None), cores) if name == "CPU" else (("gpu", None), None)
    painters = [painter.remote(jaxnst.__version__, *mine, *more) for _ in range(workers)]
    if name == "CPU":
        return RayEngine(ray, network, painters, -(-workers // len(counts)), cores)
    return RayEngine(ray, network, painters, 1, None)

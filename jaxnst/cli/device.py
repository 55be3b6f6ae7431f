"""Devices, their memory, and compiled programs kept from earlier runs.

JAX's settings are changed here and nowhere else, before it is first used.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import jax

from jaxnst._files import reason, user_folder
from jaxnst._memory import available_memory
from jaxnst.cli.errors import UsageError, explain
from jaxnst.cli.messages import amount, shape
from jaxnst.cli.option_types import Device
from jaxnst.networks.precision import map_bytes
from jaxnst.optim.sharding import threads_of
from jaxnst.recipes.schema import Precision

MAPPINGS, MOST_MAPPINGS = "/proc/self/maps", "/proc/sys/vm/max_map_count"
"""Linux' list of the mappings of this process, and how many there may be."""

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"

MAPS = 5
"""Most maps of the network's first layer that are in memory during one pass. XLA reports 3 (of 32
channels) with the decoders that ship, and 4 while a style is encoded."""

Wanted = Device | None
"""A kind of device, and which one; None: the one that JAX chooses."""


def use_device(wanted: Wanted, *, deterministic: bool = False) -> jax.Device:
    """Make JAX compute on a device.

    With ``deterministic`` a GPU computes the same again from the same inputs; XLA reads that when a
    device is first used.

    Raises:
      UsageError: There is no such device.
    """
    if deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    if wanted is None:
        try:
            return jax.devices()[0]
        except (RuntimeError, AssertionError) as error:  # AssertionError if it has found none
            why = reason(error).partition(" (set JAX_PLATFORMS")[0].rstrip(".")
            chosen = _chosen()
            raise UsageError(
                f"JAX cannot start a device{f', {chosen}' if chosen else ''}"
                f"{f' ({why})' if str(error) else ''}: "
                f"{f'unset {chosen.split()[0]}' if chosen else 'check its driver'}, or use "
                "--device cpu"
            ) from error
    kind, index = wanted[0], wanted[1] or 0
    if kind == "cpu":
        # Or an accelerator would be started, and its memory taken, for nothing.
        _set("jax_platforms", "cpu")
    try:
        devices = jax.devices(kind)
    except (RuntimeError, AssertionError):
        devices = []
    if index >= len(devices):
        raise UsageError(_no_device(kind, index))
    _set("jax_default_device", devices[index])
    return devices[index]


def _chosen() -> str:
    """Return the environment's choice of a kind of device, NAME is VALUE, or ""."""
    for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
        if value := os.environ.get(name):
            return f"{name} is {value}"
    return ""


def devices_beside(device: jax.Device, wanted: Wanted) -> list[jax.Device]:
    """List the devices that share a batch: all of a kind, unless one of them was named."""
    if wanted is not None and wanted[1] is not None:
        return [device]
    return jax.local_devices(backend=device.platform)


def _set(name: str, value: object) -> None:
    jax.config.update(name, value)  # type: ignore[no-untyped-call]


def _no_device(kind: str, index: int) -> str:
    names: list[str] = []
    for name in ("cpu", "gpu", "tpu"):
        with contextlib.suppress(RuntimeError, AssertionError):
            names += [f"{name}:{i}" for i, _ in enumerate(jax.devices(name))]
    text = f"--device: there is no {kind}:{index}, JAX finds only {', '.join(names) or 'none'}"
    if chosen := _chosen():
        return f"{text} ({chosen})"
    if kind != "cpu" and not any(name.startswith(kind) for name in names):
        extra = "tpu" if kind == "tpu" else "cuda13"
        return f"{text}: install the {kind.upper()}'s driver, and pip install 'jaxnst[{extra}]'"
    return text


def describe(device: jax.Device) -> str:
    """Name a device for people."""
    if device.platform == "cpu":
        threads = threads_of(device)
        return f"cpu ({threads} thread{'' if threads == 1 else 's'})"
    return f"{device.platform}:{device.id} ({device.device_kind})"


def clear_programs() -> None:
    """Drop all compiled programs if Linux allows few more memory mappings.

    A CPU's programs use 500 to 1000 mappings for a new size of a picture in ``jaxnst run``. If a
    process has more than ``vm.max_map_count``, usually 65530, it crashes. Programs that are needed
    again are loaded from the cache folder, or compiled.
    """
    try:
        most = int(Path(MOST_MAPPINGS).read_text("ascii"))
        count = Path(MAPPINGS).read_bytes().count(b"\n")
    except (OSError, ValueError):
        return  # another system
    if count > most / 2:
        jax.clear_caches()  # type: ignore[no-untyped-call]


def keep_programs(tell: Callable[[str], None], *, unless: bool = False) -> None:
    """Keep compiled programs in the user's cache folder, and use those of earlier runs.

    ``tell`` is called with the reason if the folder cannot be used.
    """
    # JAX_COMPILATION_CACHE_DIR: a folder of the user's choice
    if unless or jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    try:
        folder = user_folder("cache") / f"jax-{jax.__version__}"
        # Private: a program that can write there can make JAX run anything.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".jaxnst-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        tell(f"compiled programs are not kept for the next run: {explain(error)}")
        return
    _set("jax_compilation_cache_dir", str(folder))
    _set("jax_persistent_cache_min_compile_time_secs", 0)
    _set("jax_persistent_cache_min_entry_size_bytes", -1)


def refuse_too_large(
    size: tuple[int, int],
    channels: int,
    device: jax.Device,
    *,
    batch: int = 1,
    precision: Precision = "float32",
    way: str = "--size",
) -> None:
    """Refuse pictures of a height and width that would not fit into memory in one pass.

    ``channels`` are those of the network's first layer, ``batch`` is how many pictures are painted
    at a time, and ``way`` names the flags that reduce the memory.

    Raises:
      ValueError: It does not fit.
    """
    available = available_memory(device)
    value = map_bytes(precision, host=device.platform == "cpu")
    needed = value * MAPS * channels * batch * size[0] * size[1]
    if available is not None and needed > available:
        raise ValueError(
            f"{shape(size)} needs about {amount(needed)} of memory, {amount(available)} is "
            f"available: use a smaller {way}"
        )

"""Lanes: one function over many pictures at once, on one device or on several.

The devices form a mesh of one axis. Each takes an equal share of the lanes and runs its own loop;
nothing is communicated, so a device whose loop ends early does not wait for the others.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "lanes"
WHOLE = PartitionSpec()  # type: ignore[no-untyped-call]
APART = PartitionSpec(AXIS)  # type: ignore[no-untyped-call]


def default_device() -> jax.Device:
    """Return the device that JAX uses by default."""
    return next(iter(jnp.zeros(()).devices()))


def threads_of(device: jax.Device) -> int | None:
    """Count the threads on which XLA computes; they decide the last bits of what a CPU computes.

    They are as many as PJRT_NPROC or NPROC says, else as many as the processors that this process
    may use, and at least one for each virtual device.

    Returns:
      Their number, or None if the device is not a CPU.
    """
    if device.platform != "cpu":
        return None
    for name in ("PJRT_NPROC", "NPROC"):
        with contextlib.suppress(ValueError):
            count = int(os.environ.get(name, ""))
            break
    else:
        here = hasattr(os, "sched_getaffinity")
        count = len(os.sched_getaffinity(0)) if here else os.cpu_count() or 1
    return max(1, count, len(jax.local_devices(backend="cpu")))


def lanes_of(count: int, most: int | None, devices: int) -> int:
    """Choose how many lanes every batch has: few batches, of one size, with few lanes left empty.

    Args:
      count: Number of tasks, at least 1.
      most: Lanes at once, at most; None: as many as there are tasks.
      devices: Number of devices that share the lanes.

    Returns:
      Lanes of every batch, a multiple of the number of devices that are used (:func:`mesh_of`).

    Example:
      >>> lanes_of(10, 8, 1), lanes_of(10, 8, 4), lanes_of(3, 8, 4)
      (5, 8, 3)
    """
    most = -(-count // devices) * devices if most is None else most
    used = min(count, most, devices)
    batches = -(-count // (most // used * used))
    each = -(-count // batches)
    return -(-each // used) * used


def mesh_of(lanes: int, devices: Sequence[jax.Device]) -> Mesh:
    """Make a mesh of as many of the devices as can share the lanes equally."""
    used = max(n for n in range(1, len(devices) + 1) if lanes % n == 0)
    return Mesh(np.array(devices[:used]), (AXIS,))


def shared(mesh: Mesh, values: Any) -> Any:
    """Place a pytree of arrays, or of their shapes, whole on every device."""
    sharding = NamedSharding(mesh, WHOLE)

    def place(leaf: Any) -> Any:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf.update(sharding=sharding)  # type: ignore[no-untyped-call]
        return jax.device_put(leaf, sharding)

    return jax.tree.map(place, values)


def apart(mesh: Mesh, several: Sequence[Any]) -> Any:
    """Stack pytrees of one structure, a lane each, and place every lane on its device."""
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *several)
    return jax.device_put(stacked, NamedSharding(mesh, APART))


def apart_shapes(mesh: Mesh, shape: Any, lanes: int) -> Any:
    """Return the shapes of what :func:`apart` makes of pytrees, from one of them or its shapes."""
    sharding = NamedSharding(mesh, APART)

    def of_lanes(leaf: Any) -> Any:
        size = lanes, *leaf.shape
        return jax.ShapeDtypeStruct(size, leaf.dtype, sharding=sharding)  # type: ignore[no-untyped-call]

    return jax.tree.map(of_lanes, shape)


@partial(jax.jit, static_argnums=(0, 1, 2))
def over_lanes(
    function: Callable[..., Any], static: tuple[Any, ...], mesh: Mesh | None, whole: Any, own: Any
) -> Any:
    """Compute ``function(*static, whole, of_one_lane)`` for every lane, on its device.

    Args:
      function: Defined in a module, not on the fly: its programs are cached by its identity.
      static: Its first arguments, hashable.
      mesh: From :func:`mesh_of`; None: there is a single lane, and no axis for it.
      whole: A pytree for all lanes, placed by :func:`shared`.
      own: A pytree with one entry for each lane along the first axis of every leaf.

    Returns:
      What the function returns, stacked in the same way.
    """
    if mesh is None:
        return function(*static, whole, own)

    def on_a_device(whole: Any, own: Any) -> Any:
        if jax.tree.leaves(own)[0].shape[0] == 1:  # the same program as for a single run
            one = function(*static, whole, jax.tree.map(lambda leaf: leaf[0], own))
            return jax.tree.map(lambda leaf: leaf[None], one)
        return jax.vmap(partial(function, *static), in_axes=(None, 0))(whole, own)

    # Lanes exchange nothing, so there is nothing for shard_map to check.
    split = jax.shard_map(
        on_a_device, mesh=mesh, in_specs=(WHOLE, APART), out_specs=APART, check_vma=False
    )
    return split(whole, own)

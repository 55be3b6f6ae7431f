"""What a run will take, before any of it is compiled: arithmetic, memory and time.

Arithmetic and memory follow from shapes, those of the network's feature maps and of the solver's
state, and grow with the number of pixels. Time needs a measurement: :func:`measure_pace` runs the
very loop for a moment at a small size. The constants were fitted to runs at 128 to 1024 pixels
with two networks and both solvers (docs/performance.md).
"""

import bisect
import math
import time
from collections.abc import Callable, Collection
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst._memory import available_memory
from jaxnst._numerics import default_numerics
from jaxnst.image import fit
from jaxnst.losses.objective import TERMS, make_loss_weights, make_objective, neighbor_shapes
from jaxnst.networks.precision import map_bytes
from jaxnst.networks.registry import LossNetwork
from jaxnst.networks.remat import blocks
from jaxnst.networks.tiles import Tiling, least_tile, overlap_of
from jaxnst.optim.sharding import default_device
from jaxnst.optim.solvers import SOLVERS, advance, lower_over, make_solver, start, state_shapes
from jaxnst.recipes.schema import Recipe, replace
from jaxnst.transfer.guidance import UNGUIDED, Guidance
from jaxnst.transfer.pyramid import Schedule, Size
from jaxnst.transfer.style_cache import target_shapes

MIB = 2**20

PROCESS_BYTES = 275 * MIB
"""Python, JAX and what they load."""

PROGRAM_BYTES = 140 * MIB
"""One scale's compiled programs, and what it takes to run them besides their buffers."""

COMPILER_BYTES = 370 * MIB
"""One compilation, most of which is not given back."""

COMPILERS = 2
"""Compilations at a time."""

MAP_COPIES = 1.5
"""Every convolution's output is kept for the backward pass; half as much again goes to gradients
and to gaps between XLA's buffers."""

BLOCK_COPIES = 2
"""The same within the largest block, where blocks are recomputed for the gradient."""

STATE_COPIES = 2.5
"""The solver's state as it enters the loop and as it leaves it, and part of it in between; only
once if the loop updates it in place."""

STEP_PICTURES = 13
"""Pictures that a step has besides a state that is updated in place, and the content's features.
More than it takes to write the result or a checkpoint, which are written without copying a state.
"""

LOOP_COLUMNS, TARGET_COLUMNS = 4, 8
"""Copies of the hypercolumns of nearest neighbors in the loop (those of the layers, joined, their
targets and the gradient), and while they are found (of four turned styles, of the picture, and
chosen ones)."""

FIRST_WAIT = 2.0
"""How many compilations of a loop a run waits before its first step: it computes targets, too.
Further scales are prepared while others run."""

WAIT_AGAIN = 0.6
"""The same if all programs were compiled in an earlier run: they are only traced and loaded."""

SLOWER = 1.25
"""How much longer a run's evaluations take than those of the bare loop that is measured: meanwhile
other scales are compiled, arrays outgrow the caches, and pictures are shown."""

OVERLAPS = 3
"""Least side of the tiles that are proposed, in overlaps: smaller ones would compute more than 2.25
times the picture's pixels."""

FEWER_PAIRS = 5, 3
"""Pairs of vectors that L-BFGS keeps where a picture does not fit into memory with all ten."""

MULTIPLE = 16
"""Sizes that are proposed and measured are multiples of this."""

NOMINAL = 256
"""Side of the picture at which shapes are evaluated."""


class Cost(NamedTuple):
    """What one scale takes.

    Attributes:
      multiply_adds: Of one evaluation (loss and gradient), per pixel.
      loop_bytes: While the loop runs, per pixel of the scale.
      map_bytes: The share of feature maps in them, per pixel of the scale or of a tile.
      target_bytes: While targets are computed, per pixel of the largest picture, or of a tile.
      fixed_bytes: Whatever the size: parameters.
    """

    multiply_adds: float
    loop_bytes: float
    map_bytes: float
    target_bytes: float
    fixed_bytes: float


class Plan(NamedTuple):
    """What a run goes through and takes.

    Attributes:
      schedule: Sizes and evaluations.
      tilings: The tiles of each scale; None: it is looked at whole.
      multiply_adds: Of one evaluation, by scale.
      bytes: Memory at the peak.
      bytes_again: The same once all programs have been compiled in an earlier run.
    """

    schedule: Schedule
    tilings: tuple[Tiling | None, ...]
    multiply_adds: tuple[float, ...]
    bytes: int
    bytes_again: int


class Pace(NamedTuple):
    """How fast this machine is.

    Attributes:
      multiply_adds: Per second of an evaluation, including all its other work.
      compile_seconds: For one loop.
    """

    multiply_adds: float
    compile_seconds: float


class Seconds(NamedTuple):
    """How long a run takes.

    Attributes:
      wait: For programs, if none was compiled before.
      wait_again: For programs, if all were compiled in an earlier run.
      run: Optimizing.
    """

    wait: float
    wait_again: float
    run: float


def make_plan(
    schedule: Schedule,
    recipe: Recipe,
    network: LossNetwork,
    *,
    pictures: int = 0,
    reading: int = 0,
    host: bool = True,
    remat: bool = False,
    tile: int | None = None,
    loop: int | None = None,
    devices: int = 1,
) -> Plan:
    """Work out what a run takes.

    Args:
      schedule: Sizes and evaluations.
      recipe: The method.
      network: Its loss network.
      pictures: Bytes of all pictures that were loaded for it
        (:func:`jaxnst.image.keeping_bytes`).
      reading: Bytes of the process at the peak of reading them.
      host: Whether the memory is the host's, which the process and its compiler need as well, and
        in which feature maps are float32 whatever the precision; else it is an accelerator's own.
      remat: Whether it recomputes feature maps for the gradient.
      tile: Longest side of its tiles, pixels; None: no tiles.
      loop: Bytes of the largest loop, from :func:`loop_footprint`; None
        to estimate them.
      devices: How many share the tiles, each with the whole state; those of a host share its
        memory, too.

    Raises:
      KeyError: If the network lacks a layer of the recipe.
      ValueError: If the recipe cannot be computed in such tiles.
    """
    value = map_bytes(network.precision, host=host)
    cost = cost_of(recipe, network, remat=remat, value_bytes=value)
    objective = make_objective(recipe, network, tile=tile)
    areas = [math.prod(scale.inner) for scale in schedule.scales]
    tilings = tuple(objective.tiling(objective.layers, scale.inner) for scale in schedule.scales)
    pieces = [
        (1, area) if tiling is None else (tiling.windows, math.prod(tiling.window))
        for area, tiling in zip(areas, tilings, strict=True)
    ]
    if loop is None:
        of_state = cost.loop_bytes - cost.map_bytes
        loops = (
            area * of_state + piece * cost.map_bytes
            for area, (_, piece) in zip(areas, pieces, strict=True)
        )
        loop = round(max(loops) + cost.fixed_bytes)
    if host and tilings[-1] is not None:
        loop *= devices
    most = math.inf if tile is None else tile**2
    pixels = max(math.prod(s) for scale in schedule.scales for s in (scale.inner, *scale.styles))
    memory = max(loop, round(min(pixels, most) * cost.target_bytes + cost.fixed_bytes))
    compilers = 0
    if host:
        process, compilers = _host_bytes(len(areas))
        memory += process + pictures
    least = reading if host else 0
    # In tiles the forward pass runs twice: a gradient needs the sums of the whole picture.
    forward = cost_of(recipe, network, value_bytes=value).multiply_adds / 2
    adds = tuple(
        count * piece * (cost.multiply_adds + (forward if count > 1 else 0))
        for count, piece in pieces
    )
    return Plan(schedule, tilings, adds, max(memory + compilers, least), max(memory, least))


def runs_that_fit(
    schedule: Schedule,
    recipe: Recipe,
    network: LossNetwork,
    available: int | None,
    *,
    host: bool,
    remat: bool = False,
    pictures: int = 0,
    shared: int = 0,
) -> int | None:
    """Work out how many runs of one kind fit into memory side by side, at least 1.

    ``available`` is in bytes; where it is None, so is the result. ``pictures`` is how many bytes
    the pictures of each take, ``shared`` those that all of them have in common, or one that is
    being read. ``host`` is as in :func:`make_plan`.
    """
    if available is None:
        return None
    process = sum(_host_bytes(len(schedule.scales))) if host else 0
    plan = make_plan(schedule, recipe, network, pictures=pictures, host=host, remat=remat)
    left = available - process - (shared if host else 0)
    return max(1, left // (plan.bytes - process))


def _host_bytes(scales: int) -> tuple[int, int]:
    """Return the bytes of the process and its compilers, however many runs there are."""
    return PROCESS_BYTES + PROGRAM_BYTES * scales, COMPILER_BYTES * min(COMPILERS, scales)


@lru_cache
@default_numerics()
def cost_of(
    recipe: Recipe, network: LossNetwork, *, remat: bool = False, value_bytes: int = 4
) -> Cost:
    """Work out what one scale takes, from shapes alone.

    A value of a feature map has ``value_bytes`` (:func:`jaxnst.networks.precision.map_bytes`).
    """
    objective = make_objective(recipe, network, remat=remat)
    depth = max(network.layers.index(name) for name in objective.layers) + 1
    image = jax.ShapeDtypeStruct((NOMINAL, NOMINAL, 3), jnp.float32)  # type: ignore[no-untyped-call]
    see = partial(objective.network.features, layers=network.layers[:depth])
    maps = jax.eval_shape(see, network.params, image)
    method, _ = make_solver(recipe)
    state = state_shapes(method, (NOMINAL, NOMINAL), len(TERMS))

    def work(names: Collection[str]) -> tuple[float, float]:
        """Values of convolutions' outputs, and multiply-adds."""
        style = () if objective.by_neighbors else objective.style_layers
        adds = sum(maps[n].size * maps[n].shape[-1] for n in style if n in names)
        values = 0.0
        for name in names:
            arrays = network.params.get(name, {})
            values += maps[name].size if arrays else 0
            if "kernel" in arrays:
                adds += arrays["kernel"].size * maps[name].size / maps[name].shape[-1]
        return values, adds

    parameters = sum(
        arrays["kernel"].size
        for name, arrays in network.params.items()
        if name in maps and "kernel" in arrays
    )
    values, adds = work(maps)
    held, twice = MAP_COPIES * values, 0.0
    if remat:
        *before, last = blocks(network, objective.layers)
        works = [work(names) for names in (*before, last)]
        twice = sum(adds for _, adds in works[:-1])
        held = sum(maps[names[-1]].size for names in before) + BLOCK_COPIES * max(works)[0]
    area, columns = NOMINAL**2, 0.0
    if objective.by_neighbors:
        shapes = neighbor_shapes(objective, (NOMINAL, NOMINAL), by_layer=False)
        columns = jax.tree.leaves(shapes)[0].size
        held += LOOP_COLUMNS * columns
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    picture_bytes = 4 * image.size
    if SOLVERS[method.kind].in_picture:
        solving = STATE_COPIES * state_bytes
    else:
        solving = state_bytes + STEP_PICTURES * picture_bytes
    return Cost(
        multiply_adds=(2 * adds + twice) / area,  # as much again for the gradient
        loop_bytes=(value_bytes * held + solving) / area,
        map_bytes=value_bytes * held / area,
        target_bytes=(value_bytes * values + 4 * TARGET_COLUMNS * columns) / area,
        fixed_bytes=2 * 4 * parameters,  # and flipped, for the gradient
    )


def largest_size(
    needed: Callable[[int], int], available: int, size: int, *, least: int = MULTIPLE
) -> int | None:
    """Find the largest size, below ``size`` in steps of 16, that fits; None: none does.

    A size takes ``needed(size)`` bytes; ``least`` is the smallest.
    """
    candidates = range(least, size, MULTIPLE)
    count = bisect.bisect_right(candidates, available, key=needed)
    return candidates[count - 1] if count else None


def smallest_tile(recipe: Recipe, network: LossNetwork) -> int | None:
    """Return the least size of tiles that are worth their time; None: the recipe allows none."""
    objective = make_objective(recipe, network)
    if not objective.layers or not all(statistic.additive for statistic in objective.statistics):
        return None
    worthwhile = OVERLAPS * overlap_of(objective.network, objective.layers)
    return max(worthwhile, least_tile(objective.network, objective.layers))


def with_fewer_pairs(recipe: Recipe) -> list[Recipe]:
    """Return a recipe with fewer and fewer of L-BFGS's pairs, if it leaves their number open."""
    if recipe.solver.kind != "lbfgs" or recipe.solver.memory is not None:
        return []
    return [replace(recipe, ("solver", "memory"), pairs) for pairs in FEWER_PAIRS]


def tiles_that_fit(
    schedule: Schedule, recipe: Recipe, network: LossNetwork, *, remat: bool = False
) -> tuple[int | None, Recipe]:
    """Choose tiles, and L-BFGS's pairs, for the memory available on JAX's default device.

    Returns:
      The largest tiles that fit, and the recipe: as it is if tiles fit with it, else with the most
      pairs with which they do. If none do, the smallest tiles and the fewest pairs. No tiles (None)
      if pictures fit whole, if the memory is unknown, or if the recipe cannot be computed in tiles.
    """
    device, least = default_device(), smallest_tile(recipe, network)
    available, host = available_memory(device), device.platform == "cpu"

    def needed(recipe: Recipe, tile: int | None) -> int:
        return make_plan(schedule, recipe, network, host=host, remat=remat, tile=tile).bytes

    if least is None or available is None or needed(recipe, None) <= available:
        return None, recipe
    for trial in (recipe, *with_fewer_pairs(recipe)):
        tile = largest_size(partial(needed, trial), available, max(schedule.size), least=least)
        if tile is not None:
            return tile, trial
    return least, trial


@default_numerics()
def measure_pace(
    recipe: Recipe, network: LossNetwork, content: Size, *, longest: int = 192
) -> Pace:
    """Compile the loop at a small size and run it for a moment, some seconds in all.

    It has the shape of the content, and sides of at most ``longest`` pixels.
    """
    height, width = (max(1, round(s / MULTIPLE)) * MULTIPLE for s in fit(content, longest))
    objective = make_objective(recipe, network)
    method, rates = make_solver(recipe)
    # The time does not depend on the values.
    targets = jax.tree.map(jnp.ones_like, target_shapes(objective, network.params, (height, width)))
    args = network.prepare(network.params), targets, make_loss_weights(recipe)
    state = start(method, jnp.full((height, width, 3), 0.5), len(TERMS))

    def seconds(steps: int) -> float:
        begin = time.perf_counter()
        budget = jnp.asarray(2**20)
        result = advance(objective, method, args, rates, state, jnp.asarray(steps), budget)
        jax.block_until_ready(result)  # type: ignore[no-untyped-call]
        return time.perf_counter() - begin

    compiling = seconds(0)
    seconds(1)
    step = min(seconds(2) for _ in range(3)) / 2
    adds = cost_of(recipe, network).multiply_adds * height * width
    return Pace(adds / step, compiling)


def estimate_seconds(plan: Plan, pace: Pace) -> Seconds:
    """Estimate how long a run takes, from the end of its preparations to its last step."""
    scales = plan.schedule.scales
    work = sum(s.evaluations * a for s, a in zip(scales, plan.multiply_adds, strict=True))
    return Seconds(
        wait=FIRST_WAIT * pace.compile_seconds,
        wait_again=WAIT_AGAIN * pace.compile_seconds,
        run=SLOWER * work / pace.multiply_adds,
    )


@default_numerics()
def loop_footprint(
    recipe: Recipe,
    network: LossNetwork,
    size: Size,
    *,
    remat: bool,
    tile: int | None = None,
    guidance: Guidance = UNGUIDED,
) -> int | None:
    """Compile the loop of a scale and return the bytes of its arguments, results and buffers.

    None is returned where this device's XLA does not report them. The program is the run's own:
    where JAX keeps compiled programs on disk, the run finds it there.
    """
    objective = make_objective(recipe, network, remat=remat, tile=tile)
    where = guidance.where(objective, np.zeros((*size, 3), np.float32))
    targets = target_shapes(objective, network.params, size, where=where)
    args = network.prepare(network.params), targets, make_loss_weights(recipe)
    method, rates = make_solver(recipe)
    state, count = state_shapes(method, size, len(TERMS)), jnp.asarray(0)
    program = lower_over(objective, method, args, rates, state, count, count).compile()
    memory = program.memory_analysis()
    if memory is None:
        return None
    own = memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
    passed = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return int(own + passed - memory.alias_size_in_bytes)

"""Before a run: a plan that fits into memory, and the report of ``--dry-run``.

Memory is estimated; where that does not decide, XLA compiles the largest loop and is asked.
"""

import dataclasses
import math
from collections.abc import Callable

from jaxnst._checks import counted
from jaxnst.cli.device import describe, keep_programs
from jaxnst.cli.errors import UsageError
from jaxnst.cli.job import Job
from jaxnst.cli.messages import Messages, amount, length, shape
from jaxnst.losses.statistics import get_statistic
from jaxnst.recipes.schema import replace
from jaxnst.transfer.memory import (
    MULTIPLE,
    estimate_seconds,
    largest_size,
    loop_footprint,
    measure_pace,
    smallest_tile,
    with_fewer_pairs,
)

SURE, HOPELESS = 0.5, 2.0
"""Shares of the available memory below and above which an estimate alone decides."""

TRIES = 3
"""Most sizes for which XLA is asked in search of the largest."""


def settle(job: Job, messages: Messages) -> tuple[Job, ValueError | None]:
    """Return a job as it is going to be run, within the memory that is available or allowed.

    Feature maps are kept if they fit, else recomputed for the gradient, else the picture is
    computed in tiles, else L-BFGS keeps fewer pairs if the recipe leaves their number open. Where
    it does not fit even so, the size is reduced if ``--max-memory`` was given.

    Returns:
      The job, and why it cannot be run, if it cannot: a UsageError if no size fits into
      ``--max-memory``, a ValueError if it does not fit into the available memory.
    """
    # Before anything is compiled: what is compiled here is run later.
    keep_programs(messages.notice, unless=job.flags.no_cache)
    limit = job.limit
    if limit is None:
        return (_compiled(job) if job.flags.dry_run else job), None
    plain, fits = _tried(job, limit, messages)
    if fits:
        return plain, None
    saving = plain
    fewer = [dataclasses.replace(job, recipe=recipe) for recipe in with_fewer_pairs(job.recipe)]
    for trial in [job, *fewer] if job.tile is None else fewer:
        saving, fits = _saving(trial, limit, messages)
        if fits:
            messages.notice(
                f"{_too_much(plain, limit)}: {_ways(saving, plain)}, which {_costs(saving, plain)}"
            )
            return saving, None
    largest = _largest(saving, limit, messages, _resized, max(job.plan().schedule.size))
    if job.flags.max_memory is None:
        way = "no size fits: free some memory"
        if largest is not None:
            sides = largest.recipe.scales.sides
            size = f"scales {','.join(map(str, sides))}" if sides else f"size {largest.flags.size}"
            way = f"the largest that fits is --{size}"
        return saving, ValueError(f"{_too_much(saving, limit)}: {way}")
    if largest is None:
        needed = amount(_resized(saving, MULTIPLE).plan().bytes)
        return saving, UsageError(
            f"--max-memory: {amount(limit)} is too little for any size, {MULTIPLE} pixels need "
            f"about {needed}"
        )
    messages.notice(
        f"{_too_much(saving, limit)}: painting the largest size that fits, {largest.flags.size} "
        f"pixels, with feature maps {_how(largest)}"
    )
    return largest, None


def _saving(job: Job, limit: int, messages: Messages) -> tuple[Job, bool]:
    """Return a job as it takes less memory at the cost of time, and whether it fits.

    It has as many pairs as the given one; if it does not fit, it takes the least memory.
    """
    if job.tile is not None:
        return _tried(job, limit, messages)
    job, fits = _tried(dataclasses.replace(job, remat=True), limit, messages)
    least = smallest_tile(job.recipe, job.network)
    if fits or job.flags.tile != "auto" or least is None:
        return job, fits
    size = max(job.plan().schedule.size)

    def in_tiles(job: Job, tile: int) -> Job:
        return dataclasses.replace(job, tile=tile, loop=None)

    for remat in (False, True):
        job = dataclasses.replace(job, remat=remat, tile=least)
        tiled = _largest(job, limit, messages, in_tiles, size, least=least)
        if tiled is not None:
            return tiled, True
    return job, False


def _tried(job: Job, limit: int, messages: Messages) -> tuple[Job, bool]:
    """Return the job, with XLA's answer where the estimate does not decide, and whether it fits."""
    estimate, flags, style = job.plan().bytes, job.flags, job.recipe.style
    if estimate > HOPELESS * limit:
        return job, False
    # The estimate counts neither regions nor sorting.
    statistics = style.statistic, *(name for _, name in style.statistics)
    counted = all(get_statistic(name).additive for name in statistics)
    counted = counted and job.guidance.structure == (0, False)
    sure = counted and estimate <= SURE * limit
    if sure and flags.max_memory is None and not flags.dry_run:
        return job, True
    messages.info("compiling the largest scale to find out how much memory it needs")
    job = _compiled(job)
    return job, job.plan().bytes <= limit


def _compiled(job: Job) -> Job:
    """Return the job with what XLA reports for its largest scale."""
    largest = max((scale.inner for scale in job.plan().schedule.scales), key=math.prod)
    loop = loop_footprint(
        job.recipe, job.network, largest, remat=job.remat, tile=job.tile, guidance=job.guidance
    )
    return dataclasses.replace(job, loop=loop)


def _largest(
    job: Job,
    limit: int,
    messages: Messages,
    change: Callable[[Job, int], Job],
    size: int,
    *,
    least: int = MULTIPLE,
) -> Job | None:
    """Find the largest number below ``size`` with which a changed job fits."""
    factor = 1.0
    for _ in range(TRIES):
        allowed = int(limit / factor)
        fitting = largest_size(lambda n: change(job, n).plan().bytes, allowed, size, least=least)
        if fitting is None:
            return None
        size, trial = fitting, change(job, fitting)
        answered, fits = _tried(trial, limit, messages)
        if fits:
            return answered
        factor = answered.plan().bytes / trial.plan().bytes
    return None


def _resized(job: Job, size: int) -> Job:
    """Return the job at another size, without XLA's answer."""
    flags, sides = dataclasses.replace(job.flags, size=size), job.recipe.scales.sides
    recipe = job.recipe
    if sides:
        smaller = *(side for side in sides if side < size), size
        recipe = replace(recipe, ("scales", "sides"), smaller)
    return dataclasses.replace(job, flags=flags, recipe=recipe, loop=None)


def _too_much(job: Job, limit: int) -> str:
    plan = job.plan()
    return (
        f"size {max(plan.schedule.size)} needs about {amount(plan.bytes)} of memory, "
        f"{amount(limit)} is {_where(job)}"
    )


def _costs(job: Job, plain: Job) -> str:
    """Say what a job takes that saves memory."""
    plan = job.plan()
    percent = round(100 * (sum(plan.multiply_adds) / sum(plain.plan().multiply_adds) - 1))
    longer = f" and {percent}% more time" if percent else ""
    return f"needs about {amount(plan.bytes)}{longer}"


def _ways(job: Job, plain: Job) -> str:
    """Say how a job saves memory."""
    ways, pairs = [], job.recipe.solver.pairs
    if job.tile is not None and plain.tile is None:
        ways.append(f"the picture is computed in tiles of at most {job.tile} pixels")
    elif job.remat and not plain.remat:
        ways.append("feature maps are recomputed for the gradient")
    if pairs < plain.recipe.solver.pairs:
        ways.append(f"L-BFGS keeps {pairs} pairs instead of {plain.recipe.solver.pairs}")
    return " and ".join(ways)


def _how(job: Job) -> str:
    """Say what becomes of feature maps, and what L-BFGS keeps."""
    tiling, solver = job.plan().tilings[-1], job.recipe.solver
    pairs = f"; L-BFGS keeps {solver.pairs} pairs" if solver.kind == "lbfgs" else ""
    if tiling is not None:
        return (
            f"computed twice, in {len(tiling.rows.offsets)}x{len(tiling.columns.offsets)} "
            f"tiles of {shape(tiling.window)} pixels{pairs}"
        )
    if job.remat:
        return f"recomputed for the gradient, to save memory{pairs}"
    return f"kept for the gradient{pairs}"


def _where(job: Job) -> str:
    return "available" if job.flags.max_memory is None else "allowed"


def report(job: Job, *, startup: float) -> str:
    """Write what a run will take, a fact a line, for ``--dry-run``; measures for some seconds.

    ``startup`` is the time in seconds from the program's start until the run could begin.
    """
    plan, limit, schedule = job.plan(), job.limit, job.plan().schedule
    seconds = estimate_seconds(plan, measure_pace(job.recipe, job.network, schedule.size))
    first, again = (startup + w + seconds.run for w in (seconds.wait, seconds.wait_again))
    compiled = "once these sizes have been compiled"
    most = "" if limit is None else f"; {amount(limit)} {_where(job)}"
    facts = [
        ("size", f"{shape(schedule.size)} pixels"),
        ("recipe", f"{job.recipe_name}: {job.recipe.solver.kind}, starts from {job.recipe.init}"),
        ("network", job.network.name),
        ("device", describe(job.device)),
    ]
    for i, (scale, adds) in enumerate(zip(schedule.scales, plan.multiply_adds, strict=True), 1):
        evaluations = counted(scale.evaluations, "evaluation")
        billions = f"{float(f'{adds / 1e9:.2g}'):.15g}"  # two digits, without a power of ten
        work = f"{evaluations} of {billions} billion multiply-adds"
        facts.append((f"scale {i}", f"{shape(scale.inner)}, {work}"))
    facts += [
        ("evaluations", f"{sum(scale.evaluations for scale in schedule.scales)} in all"),
        ("memory", f"about {amount(plan.bytes)}, and {amount(plan.bytes_again)} {compiled}{most}"),
        ("plan", f"feature maps are {_how(job)}"),
        ("time", f"about {length(first)}, and {length(again)} {compiled}"),
    ]
    return "\n".join(f"{name:<12}{text}" for name, text in facts)

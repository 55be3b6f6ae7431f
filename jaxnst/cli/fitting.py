"""A plan that fits into memory: cheapest first, and where it matters what XLA says of it."""

import argparse
import dataclasses
import math

from jaxnst.cli.device import keep_programs
from jaxnst.cli.errors import UsageError
from jaxnst.cli.job import Job
from jaxnst.cli.messages import Messages, amount
from jaxnst.losses.statistics import OF_MOMENTS
from jaxnst.recipes.schema import replace
from jaxnst.transfer.memory import MULTIPLE, largest_size, loop_footprint

SURE, HOPELESS = 0.5, 2.0
"""Shares of the memory there is below and above which an estimate alone decides."""

TRIES = 3
"""Most sizes of which XLA is asked in search of the largest."""


def settle(job: Job, messages: Messages) -> tuple[Job, ValueError | None]:
    """Return a job as it is going to be run, within the memory there is or that is allowed.

    Feature maps are kept if they fit, else computed anew for the gradient. Where they do not fit
    even so, the size is reduced if ``--max-memory`` was given.

    Returns:
      The job, and why it cannot be run, if it cannot: a UsageError if no size fits into
      ``--max-memory``, a ValueError if it does not fit into the memory there is.
    """
    if not job.flags.no_cache:
        # Before anything is compiled: what is asked for here is run later.
        keep_programs(messages.notice)
    limit = job.limit
    if limit is None:
        return (_asked(job) if job.flags.dry_run else job), None
    plain, fits = _tried(job, limit, messages)
    if fits:
        return plain, None
    saving, fits = _tried(dataclasses.replace(job, remat=True), limit, messages)
    if fits:
        messages.notice(
            f"{_too_much(plain, limit)}: feature maps are computed anew for the gradient, which "
            f"takes about {amount(saving.plan().bytes)} and {_more_time(plain, saving)} more time"
        )
        return saving, None
    largest = _largest(saving, limit, messages)
    if job.flags.max_memory is None:
        size = f"the largest that fits is {_size_flag(largest)}" if largest else None
        return saving, ValueError(
            f"{_too_much(saving, limit)}: {size or 'no size fits: free some'}"
        )
    if largest is None:
        least = amount(_resized(saving, MULTIPLE).plan().bytes)
        return saving, UsageError(
            f"--max-memory: {amount(limit)} are too little for any size, {MULTIPLE} pixels take "
            f"about {least}"
        )
    messages.notice(
        f"{_too_much(saving, limit)}: the largest size that fits is painted, {largest.flags.size} "
        f"pixels, with feature maps computed anew for the gradient"
    )
    return largest, None


def _tried(job: Job, limit: int, messages: Messages) -> tuple[Job, bool]:
    """Return the job, with XLA's answer where the estimate does not decide, and whether it fits."""
    estimate, flags = job.plan().bytes, job.flags
    if estimate > HOPELESS * limit:
        return job, False
    sure = estimate <= SURE * limit and _foreseen(job)
    if sure and flags.max_memory is None and not flags.dry_run:
        return job, True
    messages.say("compiling the largest scale, to know what it takes")
    job = _asked(job)
    return job, job.plan().bytes <= limit


def _foreseen(job: Job) -> bool:
    """Tell whether the estimate counts all that a job does: it knows no regions and no sorting."""
    style = job.recipe.style
    statistics = {style.statistic, *(name for _, name in style.statistics)}
    return statistics <= OF_MOMENTS and job.guidance.structure == (0, False)


def _asked(job: Job) -> Job:
    """Ask XLA for the largest scale."""
    largest = max((scale.inner for scale in job.plan().schedule.scales), key=math.prod)
    loop = loop_footprint(job.recipe, job.network, largest, remat=job.remat, guidance=job.guidance)
    return dataclasses.replace(job, loop=loop)


def _largest(job: Job, limit: int, messages: Messages) -> Job | None:
    """Find the largest size below a job's that fits."""
    size, factor = max(job.plan().schedule.size), 1.0
    for _ in range(TRIES):
        allowed = int(limit / factor)
        found = largest_size(lambda s: _resized(job, s).plan().bytes, allowed, size)
        if found is None:
            return None
        size, trial = found, _resized(job, found)
        answered, fits = _tried(trial, limit, messages)
        if fits:
            return answered
        factor = answered.plan().bytes / trial.plan().bytes
    return None


def _resized(job: Job, size: int) -> Job:
    """Return the job at another size, of which XLA has said nothing yet."""
    flags, sides = argparse.Namespace(**{**vars(job.flags), "size": size}), job.recipe.scales.sides
    recipe = job.recipe
    if sides:
        smaller = *(side for side in sides if side < size), size
        recipe = replace(recipe, ("scales", "sides"), smaller)
    return dataclasses.replace(job, flags=flags, recipe=recipe, loop=None)


def _size_flag(job: Job) -> str:
    sides = job.recipe.scales.sides
    return f"--scales {','.join(map(str, sides))}" if sides else f"--size {job.flags.size}"


def _too_much(job: Job, limit: int) -> str:
    plan = job.plan()
    where = "available" if job.flags.max_memory is None else "allowed"
    return (
        f"size {max(plan.schedule.size)} takes about {amount(plan.bytes)} of memory and "
        f"{amount(limit)} are {where}"
    )


def _more_time(plain: Job, saving: Job) -> str:
    return f"{sum(saving.plan().multiply_adds) / sum(plain.plan().multiply_adds) - 1:.0%}"

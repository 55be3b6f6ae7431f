"""What a run will take: the answer to ``--dry-run``, and the refusal of what cannot fit."""

from jaxnst.cli.device import describe
from jaxnst.cli.job import Job
from jaxnst.cli.messages import amount, length, shape
from jaxnst.planning import estimate_seconds, largest_size, measure_pace


def refuse_if_too_large(job: Job) -> None:
    """Refuse a run that needs more memory than there is.

    Raises:
      ValueError: It does; the message names the largest size that fits.
    """
    plan, available = job.plan(), job.available
    needed, size = plan.bytes, max(plan.schedule.size)
    if available is None or needed <= available:
        return
    largest = largest_size(lambda size: job.plan(size).bytes, available, size)
    advice = f"the largest that fits is --size {largest}" if largest else "no size fits: free some"
    raise ValueError(
        f"size {size} takes about {amount(needed)} of memory and {amount(available)} are "
        f"available: {advice}"
    )


def report(job: Job, *, startup: float) -> str:
    """Write what a run will take, a fact a line; measures the machine for some seconds.

    Args:
      job: The run.
      startup: Seconds from the program's start until the run could begin.
    """
    plan, available = job.plan(), job.available
    schedule = plan.schedule
    seconds = estimate_seconds(plan, measure_pace(job.recipe, job.network, schedule.size))
    first, again = (startup + w + seconds.run for w in (seconds.wait, seconds.wait_again))
    facts = [
        ("size", f"{shape(schedule.size)} pixels"),
        ("recipe", f"{job.recipe_name}: {job.recipe.solver.kind}, starts from {job.recipe.init}"),
        ("network", job.network.name),
        ("device", describe(job.device)),
    ]
    for i, (scale, adds) in enumerate(zip(schedule.scales, plan.multiply_adds, strict=True), 1):
        work = f"{scale.evaluations} evaluations of {adds / 1e9:.2g} billion multiply-adds"
        facts.append((f"scale {i}", f"{shape(scale.inner)}, {work}"))
    if schedule.margin:
        facts.append(("margin", f"{schedule.margin:.0f} pixels all round, cut off at the end"))
    facts += [
        ("evaluations", f"{sum(scale.evaluations for scale in schedule.scales)} in all"),
        (
            "memory",
            f"about {amount(plan.bytes)}, and {amount(plan.bytes_again)} once these sizes have "
            "been compiled" + ("" if available is None else f"; {amount(available)} available"),
        ),
        (
            "time",
            f"about {length(first)}, and {length(again)} once these sizes have been compiled",
        ),
    ]
    return "\n".join(f"{name:<12}{text}" for name, text in facts)

"""What a run will take: the answer to ``--dry-run``."""

from jaxnst.cli.device import describe
from jaxnst.cli.job import Job
from jaxnst.cli.messages import amount, length, shape, two_digits
from jaxnst.transfer.memory import estimate_seconds, measure_pace

MAPS = {
    False: "feature maps are kept for the gradient",
    True: "feature maps are computed anew for the gradient, to save memory",
}


def report(job: Job, *, startup: float) -> str:
    """Write what a run will take, a fact a line; measures the machine for some seconds.

    Args:
      job: The run.
      startup: Seconds from the program's start until the run could begin.
    """
    plan, limit = job.plan(), job.limit
    where = "available" if job.flags.max_memory is None else "allowed"
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
        work = f"{scale.evaluations} evaluations of {two_digits(adds / 1e9)} billion multiply-adds"
        facts.append((f"scale {i}", f"{shape(scale.inner)}, {work}"))
    facts += [
        ("evaluations", f"{sum(scale.evaluations for scale in schedule.scales)} in all"),
        (
            "memory",
            f"about {amount(plan.bytes)}, and {amount(plan.bytes_again)} once these sizes have "
            "been compiled" + ("" if limit is None else f"; {amount(limit)} {where}"),
        ),
        ("plan", MAPS[plan.remat]),
        (
            "time",
            f"about {length(first)}, and {length(again)} once these sizes have been compiled",
        ),
    ]
    return "\n".join(f"{name:<12}{text}" for name, text in facts)

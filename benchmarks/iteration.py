"""One L-BFGS iteration inside the compiled loop, against one plain evaluation of the loss.

The iteration evaluates once, too; what it costs beyond that is the solver's own work and whatever
the compiler does worse inside a loop.
"""

from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnst
from benchmarks.measure import Row, interleaved
from benchmarks.problem import Problem, make_problem, value_and_grad
from jaxnst.losses.objective import TERMS
from jaxnst.optim.solvers import CHUNK, State, advance, make_solver, start

CASES = (("vgg19", (256, 256)), ("vgg16-lite", (384, 512)))
BARS = {"vgg19": 1.05, "vgg16-lite": 1.15}


def run(*, quick: bool) -> list[Row]:
    """Time every case."""
    return [row for name, size in CASES for row in _one_case(name, size, quick)]


def _one_case(name: str, size: tuple[int, int], quick: bool) -> list[Row]:
    problem = make_problem(name, size, quick=quick)
    steps = 4 if quick else 8
    loop = Loop(problem)
    # The memory is filled first, so that every timed step has all its pairs.
    begin = loop.advance(start(loop.method, problem.image, len(TERMS)), loop.method.memory + 2)

    def in_loop() -> None:
        jax.block_until_ready(loop.advance(begin, steps))

    def plain() -> None:
        for _ in range(steps):
            jax.block_until_ready(value_and_grad(problem.objective, *problem.arguments))

    end = loop.advance(begin, steps)
    evaluations = int(end.evaluations) - int(begin.evaluations)
    if evaluations != steps or not np.all(np.isfinite(end.terms)):
        raise AssertionError(
            f"{steps} steps took {evaluations} evaluations to a loss of {end.terms[0]}, "
            "expected one evaluation each and a finite loss"
        )
    seconds = interleaved({"loop": in_loop, "plain": plain}, rounds=3 if quick else 5)
    per_step = {what: tuple(s / steps for s in several) for what, several in seconds.items()}
    ratio = median(per_step["loop"]) / median(per_step["plain"])
    about = {**problem.details, "steps": steps}
    losses = {"loss_before": float(begin.terms[0]), "loss_after": float(end.terms[0])}
    restarts = {"restarts": int(end.restarts) - int(begin.restarts)}

    def row(what: str, seconds: tuple[float, ...], **more: Any) -> Row:
        return Row(benchmark="iteration", case=problem.case, what=what, seconds=seconds, **more)

    return [
        row(
            "lbfgs iteration in the loop",
            per_step["loop"],
            ratio=ratio,
            bar=None if quick else BARS[name],
            details=about | losses | restarts,
        ),
        row("plain loss and gradient", per_step["plain"], details=about),
    ]


class Loop:
    """The default recipe's compiled loop over a problem."""

    def __init__(self, problem: Problem):
        self.problem = problem
        self.method, self.rates = make_solver(jaxnst.get_recipe("default"))

    def arguments(self, state: State, steps: int) -> tuple[object, ...]:
        """What :func:`jaxnst.optim.solvers.advance` is called with."""
        p = self.problem
        given = (p.params, p.targets, p.numbers)
        counts = (jnp.asarray(steps), jnp.asarray(CHUNK))
        return p.objective, self.method, given, self.rates, state, *counts

    def advance(self, state: State, steps: int) -> State:
        """Take steps from a state, which is left as it was."""
        return advance(*self.arguments(state, steps))[0]

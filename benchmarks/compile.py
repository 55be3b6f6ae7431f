"""Compiling one loop program, apart from running it.

JAX's caches are cleared before each repetition and no persistent cache is used, so every one is
what the first run of a user compiles. The record keeps their order.
"""

import time

import jax

from benchmarks.iteration import Loop
from benchmarks.measure import Row, timed
from benchmarks.problem import make_problem
from jaxnst.losses.objective import TERMS
from jaxnst.optim.solvers import advance, start

CASES = (("vgg16-lite", (384, 512)), ("vgg19", (256, 256)))


def run(*, quick: bool) -> list[Row]:
    """Time every case."""
    return [row for name, size in CASES for row in _one_case(name, size, quick)]


def _one_case(name: str, size: tuple[int, int], quick: bool) -> list[Row]:
    problem = make_problem(name, size, quick=quick)
    loop = Loop(problem)
    state = start(loop.method, problem.image, len(TERMS))
    arguments = loop.arguments(state, 1)
    tracing, compiling = [], []
    for _ in range(1 if quick else 5):
        jax.clear_caches()
        begin = time.perf_counter()
        lowered = advance.lower(*arguments)
        middle = time.perf_counter()
        compiled = lowered.compile()
        tracing.append(middle - begin)
        compiling.append(time.perf_counter() - middle)

    _, _, *traced = arguments  # the first two are static, so they are in the program
    step = [
        timed(lambda: jax.block_until_ready(compiled(*traced))) for _ in range(4 if quick else 11)
    ]

    def row(what: str, seconds: list[float]) -> Row:
        return Row(
            benchmark="compile",
            case=problem.case,
            what=what,
            seconds=tuple(seconds),
            details=problem.details,
        )

    return [
        row("trace and lower the loop", tracing),
        row("compile the loop", compiling),
        row("run one step of it", step[1:]),
    ]

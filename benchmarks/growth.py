"""How the cost grows: with pixels, with pairs side by side, and with devices.

Devices are those that JAX finds. On a CPU there is one, unless XLA is told to make several of its
cores: ``XLA_FLAGS=--xla_force_host_platform_device_count=2``.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import jax
import numpy as np

import jaxnst
from benchmarks.iteration import Loop
from benchmarks.measure import Row, interleaved
from benchmarks.problem import make_problem
from jaxnst.losses.objective import TERMS
from jaxnst.optim.solvers import start
from jaxnst.recipes import get_recipe

SIDES = {"vgg16-lite": (128, 192, 256, 384, 512, 768, 1024), "vgg19": (128, 192, 256, 384, 512)}
PAIRS = (1, 2, 4, 8, 16)
PAIR_SIZE, PAIR_EVALUATIONS = 192, 20
STEPS = 4


def run(*, quick: bool) -> list[Row]:
    """Time all three."""
    return [*_pixels(quick), *_pairs(quick), *_devices(quick)]


def _pixels(quick: bool) -> list[Row]:
    rows = []
    for name, sides in SIDES.items():
        for side in sides[:1] if quick else sides:
            problem = make_problem(name, (3 * side // 4, side), quick=quick)
            loop = Loop(problem)
            state = start(loop.method, problem.image, len(TERMS))

            def steps(loop: Loop = loop, state: object = state) -> None:
                jax.block_until_ready(loop.advance(state, STEPS))  # type: ignore[arg-type]

            steps()
            several = interleaved({"steps": steps}, 1 if quick else 2)["steps"]
            height, width, _ = problem.image.shape
            rows.append(
                Row(
                    benchmark="growth",
                    case=f"pixels, {problem.case}",
                    what="one step of L-BFGS",
                    seconds=tuple(seconds / STEPS for seconds in several),
                    details={"network": name, "pixels": height * width},
                )
            )
    return rows


def _pairs(quick: bool) -> list[Row]:
    rows = []
    counts = PAIRS[:2] if quick else PAIRS
    for count, seconds in _batches({n: (n, 1) for n in counts}, quick).items():
        each = tuple(s / count for s in seconds)
        rows.append(_row("pairs", count, each, {"pairs": count}))
    return rows


def _devices(quick: bool) -> list[Row]:
    there = jax.local_device_count()
    if there == 1:
        return [
            Row(
                benchmark="growth",
                case="devices",
                what="a picture of a batch",
                note="not measured: JAX finds one device",
            )
        ]
    counts = [n for n in (1, 2, 4, 8, 16) if n <= there]
    most = max(counts)
    found = _batches({n: (2 * most, n) for n in counts}, quick)
    return [
        _row("devices", count, tuple(s / (2 * most) for s in seconds), {"devices": count})
        for count, seconds in found.items()
    ]


def _row(kind: str, count: int, seconds: tuple[float, ...], details: dict[str, object]) -> Row:
    return Row(
        benchmark="growth",
        case=f"{kind}: {count}, {PAIR_SIZE} px, {PAIR_EVALUATIONS} evaluations",
        what="a picture of a batch",
        seconds=seconds,
        details=details,
    )


def _batches(cases: Mapping[int, tuple[int, int]], quick: bool) -> dict[int, list[float]]:
    """Time batches of so many pairs on so many devices, without compilation."""
    network = jaxnst.load_network("vgg16-lite")
    recipe = get_recipe("default")
    evaluations = (2 if quick else PAIR_EVALUATIONS,)
    recipe = replace(recipe, scales=replace(recipe.scales, several=False, evaluations=evaluations))
    rng = np.random.default_rng(0)
    size = 64 if quick else PAIR_SIZE

    def batch(pairs: int, devices: int) -> Callable[[], object]:
        pictures = [picture(rng, size) for _ in range(2 * pairs)]
        return partial(
            jaxnst.stylize_batch,
            pictures[:pairs],
            pictures[pairs:],
            network=network,
            recipe=recipe,
            devices=jax.local_devices()[:devices],
        )

    tasks = {str(key): batch(*case) for key, case in cases.items()}
    for task in tasks.values():
        task()
    found = interleaved(tasks, 1)
    return {int(key): seconds for key, seconds in found.items()}


def picture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Make a smooth random picture, 4:3."""
    coarse = rng.uniform(size=(6, 8, 3)).astype(np.float32)
    return np.clip(jaxnst.resize(coarse, (3 * size // 4, size)), 0, 1)

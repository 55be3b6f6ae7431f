"""Memory of large pictures: feature maps kept, and recomputed for the gradient (``remat``).

Each way in a fresh process: what XLA accounts for, the process's own peak, and the time of a step.
``python -m benchmarks.memory NAME SIDE kept|recomputed`` is that process.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from benchmarks.iteration import Loop
from benchmarks.measure import Row
from benchmarks.problem import make_problem
from jaxnst.losses.objective import TERMS
from jaxnst.optim.solvers import CHUNK, advance_over, lower_over, start

NAME, SIDE, STEPS = "vgg19", 1024, 3
BARS = {"peak": 0.6, "analysis": 0.6, "seconds": 1.4}
ROOT = Path(__file__).parent.parent


def run(*, quick: bool) -> list[Row]:
    """Measure both ways."""
    side = 128 if quick else SIDE
    found = {how: _child(how, side) for how in ("kept", "recomputed")}
    rows = []
    for what, key in (
        ("peak of the process", "peak"),
        ("what XLA accounts for", "analysis"),
        ("a step", "seconds"),
    ):
        kept, recomputed = (found[how][key] for how in ("kept", "recomputed"))
        unit = "s" if key == "seconds" else "MB"
        scale = 1 if key == "seconds" else 1e-6
        rows.append(
            Row(
                benchmark="memory",
                case=f"{NAME} {side}x{side}",
                what=f"{what}, recomputed / kept",
                ratio=recomputed / kept,
                bar=None if quick else BARS[key],
                note=f"{recomputed * scale:.4g} / {kept * scale:.4g} {unit}",
                details={"kept": kept, "recomputed": recomputed},
            )
        )
    return rows


def _child(how: str, side: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", NAME, str(side), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _measure(name: str, side: int, how: str) -> dict[str, float]:
    problem = make_problem(name, (side, side), remat=how == "recomputed")
    loop = Loop(problem)
    state = start(loop.method, problem.image, len(TERMS))
    fun, method, args, rates, *_ = loop.arguments(state, STEPS)
    counts = jnp.asarray(STEPS), jnp.asarray(CHUNK)
    given = fun, method, args, rates
    analysis = lower_over(*given, state, *counts).compile().memory_analysis()  # type: ignore[arg-type]
    total = analysis.temp_size_in_bytes + analysis.argument_size_in_bytes
    total += analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        state, _ = advance_over(*given, state, *counts)  # type: ignore[arg-type]
        jax.block_until_ready(state)
        seconds.append((time.perf_counter() - begin) / STEPS)
    return {"peak": _peak(), "analysis": total, "seconds": min(seconds)}


def _peak() -> int:
    """Ask Linux for the most memory that this program had, bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]), sys.argv[3])))

"""The trace of a matrix root with its gradient: ours, and the way through a Lyapunov equation.

style-transfer-pytorch differentiates its root by solving ``R X + X R = G`` with twelve more
Newton-Schulz steps; ours takes the inverse root that the first twelve give anyway.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.measure import Row, interleaved
from jaxnst.losses.distances import ROOT_STEPS, root_trace

CHANNELS = (64, 128, 256, 512)


def run(*, quick: bool) -> list[Row]:
    """Time every size."""
    return [
        row for channels in CHANNELS for row in _one_size(channels // (8 if quick else 1), quick)
    ]


def _one_size(channels: int, quick: bool) -> list[Row]:
    matrix = _covariance(channels)
    tasks = {}
    for what, function in (("trace only", root_trace), ("through Lyapunov", lyapunov_trace)):
        evaluate = jax.jit(jax.value_and_grad(function))
        tasks[what] = partial(_ready, evaluate, matrix)
        tasks[what]()
    found = interleaved(tasks, 3 if quick else 15)
    base = float(np.median(found["through Lyapunov"]))
    return [
        Row(
            benchmark="roots",
            case=f"{channels} channels",
            what=f"root and gradient, {what}",
            seconds=tuple(seconds),
            ratio=float(np.median(seconds)) / base,
        )
        for what, seconds in found.items()
    ]


def _ready(evaluate: Callable[[jax.Array], object], matrix: jax.Array) -> None:
    jax.block_until_ready(evaluate(matrix))  # type: ignore[no-untyped-call]


def _covariance(channels: int) -> jax.Array:
    """A covariance such as features have, squared: its eigenvalues span many decades."""
    rng = np.random.default_rng(0)
    spread = np.geomspace(1, 1e-2, channels)
    vectors = rng.normal(size=(4 * channels, channels)) * spread
    covariance = np.cov(vectors.T) + 1e-4 * np.eye(channels)
    return jnp.asarray(covariance @ covariance, jnp.float32)


@jax.custom_vjp
def lyapunov_trace(matrix: jax.Array) -> jax.Array:
    """Compute the trace of the root, differentiated as style-transfer-pytorch does."""
    return jnp.trace(_root(matrix))


def _forward(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    root = _root(matrix)
    return jnp.trace(root), root


def _backward(root: jax.Array, grad: jax.Array) -> tuple[jax.Array]:
    norm = jnp.linalg.norm(root)
    one = jnp.eye(len(root))

    def step(_: int, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        a, q = pair
        factor = 3 * one - a @ a
        return a @ factor / 2, (q @ factor - a.T @ (a.T @ q - q @ a)) / 2

    _, q = lax.fori_loop(0, ROOT_STEPS, step, (root / norm, grad * one / norm))
    return (q / 2,)


lyapunov_trace.defvjp(_forward, _backward)


def _root(matrix: jax.Array) -> jax.Array:
    norm = jnp.linalg.norm(matrix)
    one = jnp.eye(len(matrix))

    def step(_: int, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        y, z = pair
        t = (3 * one - z @ y) / 2
        return y @ t, t @ z

    y, _ = lax.fori_loop(0, ROOT_STEPS, step, (matrix / norm, one))
    return y * jnp.sqrt(norm)

"""One step of L-BFGS: the formula, the exact solution, and every guard."""

import subprocess
import sys
from functools import cache
from itertools import pairwise

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnst.optim import lbfgs

SHAPE = (4, 5, 3)
MEMORY = 4

# Losses, each for what its name says.

SCALES = np.random.default_rng(1).uniform(1, 10, SHAPE)
LOWEST = np.random.default_rng(2).normal(size=SHAPE)
START = np.float32(np.random.default_rng(3).normal(size=SHAPE))


def bowl(x):
    """A quadratic."""
    scales, lowest = (jnp.asarray(a, jnp.float32) for a in (SCALES, LOWEST))
    return 0.5 * jnp.sum(scales * (x - lowest) ** 2)


def bowl_reference(x):
    """The same and its gradient, in float64."""
    gradient = SCALES * (x - LOWEST)
    return 0.5 * np.vdot(gradient, x - LOWEST), gradient


def rosenbrock(x):
    """Rosenbrock's valley along pixels, shallow enough for float32; lowest at one."""
    flat = x.reshape(-1)
    return jnp.mean(5 * (flat[1:] - flat[:-1] ** 2) ** 2 + (1 - flat[:-1]) ** 2)


def top(x):
    """A hilltop at 0."""
    return jnp.sum(jnp.cos(x))


def wall(x):
    """A slope towards 3, and a leap up where any pixel is beyond 1."""
    slope = jnp.mean((x - 3) ** 2)
    return jnp.where(jnp.max(x) > 1, 100 + slope, slope)


def no_loss_beyond(x):
    """The same slope, but beyond 1 there is no loss at all."""
    slope = jnp.mean((x - 3) ** 2)
    return jnp.where(jnp.max(x) > 1, jnp.nan, slope)


def no_gradient_beyond(x):
    """The same slope; beyond 1 the loss is finite and its gradient is not."""

    def rough(x):
        return jnp.sum(jnp.sqrt(jnp.abs(x - lax.stop_gradient(x))))

    return jnp.mean((x - 3) ** 2) + lax.cond(jnp.max(x) > 1, rough, lambda x: 0 * jnp.sum(x), x)


def first_pixel(x):
    return x[0, 0, 0]


def nothing(x):
    return jnp.nan * jnp.sum(x)


# A search holds several copies of the loss, so it is given few.
LOSSES = {
    "fixed": [
        bowl,
        rosenbrock,
        top,
        wall,
        no_loss_beyond,
        no_gradient_beyond,
        first_pixel,
        nothing,
    ],
    "zoom": [bowl, nothing],
}
CALLS = []


@cache
def compiled(line_search):
    """One program for several losses, since compiling is what takes time here.

    The auxiliary value is the loss. What is evaluated in a line search is counted in CALLS.
    """

    def step(x, aux, state, rate, which):
        def fun(x):
            if line_search != "fixed":
                jax.debug.callback(lambda _: CALLS.append(1), x[0, 0, 0])
            value = lax.switch(which, LOSSES[line_search], x)
            return value, value

        return lbfgs.step(fun, x, aux, state, rate, line_search)

    return jax.jit(step)


def run(loss, x, steps, *, rate=1.0, line_search="fixed", state=None):
    """Every outcome of a run, the first being the evaluation of the start."""
    x, aux, outcomes = jnp.asarray(x, jnp.float32), jnp.asarray(jnp.inf), []
    state = lbfgs.init(x, MEMORY) if state is None else state
    numbers = jnp.asarray(rate, float), jnp.asarray(LOSSES[line_search].index(loss))
    for _ in range(steps):
        outcome = compiled(line_search)(x, aux, state, *numbers)
        x, aux, state = outcome.x, outcome.aux, outcome.state
        outcomes.append(outcome)
    return outcomes


# Without anything going wrong.


def test_the_first_step_evaluates_the_start_and_stays():
    (outcome,) = run(bowl, START, 1)
    value, gradient = bowl_reference(START.astype(np.float64))
    np.testing.assert_array_equal(outcome.x, START)
    np.testing.assert_allclose(outcome.state.value, value, rtol=1e-5)
    np.testing.assert_allclose(outcome.aux, value, rtol=1e-5)
    np.testing.assert_allclose(outcome.state.grad, gradient, rtol=1e-4, atol=1e-5)
    assert outcome.evaluations == 1 and not outcome.taken_back
    assert outcome.state.pairs == 0  # nothing learned of the curvature yet


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_steps_equal_a_float64_reference(rate):
    """Long enough that the memory is written over twice."""
    outcomes = run(bowl, START, 13, rate=rate)
    points, values = helpers.lbfgs(bowl_reference, START, 12, MEMORY, rate)
    for outcome, point, value in zip(outcomes, points, values, strict=True):
        # Each step multiplies float32's error by the condition of the problem.
        np.testing.assert_allclose(outcome.x, point, atol=1e-3)
        np.testing.assert_allclose(outcome.state.value, value, rtol=1e-2, atol=1e-4)
    assert outcomes[-1].state.pairs == 12


def test_a_quadratic_is_minimised_to_the_exact_solution():
    outcome = run(bowl, START, 60)[-1]
    np.testing.assert_allclose(outcome.x, LOWEST, atol=1e-5)
    assert outcome.state.value < 1e-9


def test_at_the_lowest_point_nothing_moves():
    outcomes = run(bowl, LOWEST, 5)
    np.testing.assert_array_equal(outcomes[-1].x, np.float32(LOWEST))
    assert not any(o.taken_back for o in outcomes)


@pytest.mark.parametrize("fun", [bowl, rosenbrock], ids=["quadratic", "rosenbrock"])
def test_thirty_steps_lower_the_loss_far(fun):
    outcomes = run(fun, 0.5 + 0.1 * START, 30)
    assert outcomes[-1].state.value < 0.1 * outcomes[0].state.value


def test_zoom_minimises_and_counts_every_evaluation():
    CALLS.clear()
    outcomes = run(bowl, START, 12, line_search="zoom")
    jax.effects_barrier()
    np.testing.assert_allclose(outcomes[-1].x, LOWEST, atol=1e-2)
    assert sum(int(o.evaluations) for o in outcomes) == len(CALLS)
    values = [float(o.state.value) for o in outcomes]
    assert all(b <= a * (1 + 1e-5) for a, b in pairwise(values))


# Guards. Each has a loss that triggers it.


def test_negative_curvature_leaves_the_memory_as_it_was():
    """Down the side of a cosine, near its top, the gradient grows on the way."""
    before, after = run(top, np.full(SHAPE, 0.2), 2)
    assert after.state.value < before.state.value  # a good step
    assert not after.taken_back
    assert after.state.pairs == 0
    for name in ("steps", "changes", "rho"):
        assert not np.any(getattr(after.state, name)), name
    assert after.state.gamma == before.state.gamma == 1


def test_later_negative_curvature_keeps_the_pairs_there_are():
    """On a cosine's top after a bowl: the loss falls, and its curvature is not to be learned."""
    kept = run(bowl, START, 4)[-1].state
    assert kept.pairs == 3 and np.count_nonzero(kept.rho) == 3
    x = jnp.full(SHAPE, 0.2)
    there = kept._replace(value=top(x), grad=-jnp.sin(x))
    (outcome,) = run(top, x, 1, state=there)
    assert not outcome.taken_back and np.any(outcome.x != x)
    for name in ("pairs", "steps", "changes", "rho", "gamma"):
        np.testing.assert_array_equal(getattr(outcome.state, name), getattr(kept, name))


@pytest.mark.parametrize("fun", [wall, no_loss_beyond], ids=["rise", "nan"])
def test_a_step_over_the_wall_is_taken_back(fun):
    outcomes = run(fun, np.zeros(SHAPE), 40)
    backs = [i for i, o in enumerate(outcomes) if o.taken_back]
    assert backs, "the loss was built to trigger the guard"
    for i in backs:
        before, back = outcomes[i - 1], outcomes[i]
        np.testing.assert_array_equal(back.x, before.x)
        np.testing.assert_array_equal(back.aux, before.aux)
        np.testing.assert_array_equal(back.state.value, before.state.value)
        np.testing.assert_array_equal(back.state.grad, before.state.grad)
        assert back.state.scale == before.state.scale / 2
        assert back.state.pairs == 0 and not np.any(back.state.rho)
        assert back.state.gamma == 1
        assert back.evaluations == 1
    values = [float(o.state.value) for o in outcomes]
    assert np.all(np.isfinite(values)) and max(values) == values[0]
    assert float(jnp.max(outcomes[-1].x)) <= 1


@pytest.mark.parametrize("fun", [wall, no_loss_beyond], ids=["rise", "nan"])
def test_after_steps_taken_back_the_run_still_gets_somewhere(fun):
    """From 9 to the wall's foot is 4: forty evaluations are enough for half of the way."""
    outcomes = run(fun, np.zeros(SHAPE), 40)
    assert sum(bool(o.taken_back) for o in outcomes) < 20
    assert outcomes[-1].state.value < 6.5


def test_a_gradient_that_is_not_finite_is_taken_back_too():
    outcomes = run(no_gradient_beyond, np.zeros(SHAPE), 12)
    assert any(o.taken_back for o in outcomes)
    for outcome in outcomes:
        assert np.all(np.isfinite(outcome.x)) and np.all(np.isfinite(outcome.state.grad))


@pytest.mark.parametrize(
    ("value", "small", "far"), [(1, 1.45, 1.55), (-2, -1.05, -0.95), (0, 0, 1)]
)
def test_a_small_rise_is_accepted_and_a_far_one_is_not(value, small, far):
    """Up to half of the last value: L-BFGS needs some freedom to converge well."""
    assert lbfgs.RISE == 0.5
    x = jnp.zeros(SHAPE)
    # With no gradient known the step goes nowhere, and the loss there is the first pixel.
    state = lbfgs.init(x, MEMORY)._replace(value=jnp.asarray(value, jnp.float32))

    def judge(level):
        return run(first_pixel, x.at[0, 0, 0].set(level), 1, state=state)[0]

    assert not judge(small).taken_back
    assert judge(far).taken_back


def test_the_step_scale_grows_back_with_good_steps_up_to_one():
    state = run(bowl, START, 1)[0].state._replace(scale=jnp.asarray(0.8))
    outcomes = run(bowl, START, 5, state=state)
    scales = [float(o.state.scale) for o in outcomes]
    assert scales == sorted(scales) and scales[-1] == 1
    expected = [min(1, 0.8 * lbfgs.RECOVERY**n) for n in range(1, 6)]
    np.testing.assert_allclose(scales, expected, rtol=1e-6)


@pytest.mark.parametrize("line_search", ["fixed", "zoom"])
def test_no_loss_at_the_start_leaves_the_image_as_it_was(line_search):
    outcomes = run(nothing, START, 4, line_search=line_search)
    for outcome in outcomes:
        assert outcome.taken_back and outcome.evaluations >= 1
        np.testing.assert_array_equal(outcome.x, START)
        # Not a number is never handed out as the loss of an accepted point.
        assert outcome.aux == jnp.inf


# jaxopt.


def test_jaxopt_is_imported_without_its_warning_and_leaves_the_filters_alone():
    code = (
        "import warnings; from jaxnst.optim import lbfgs; before = list(warnings.filters); "
        "assert lbfgs.jaxopt().__name__ == 'jaxopt'; assert warnings.filters == before"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_jaxopt_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxopt", None)
    lbfgs.jaxopt.cache_clear()
    try:
        assert lbfgs.jaxopt() is None
    finally:
        lbfgs.jaxopt.cache_clear()

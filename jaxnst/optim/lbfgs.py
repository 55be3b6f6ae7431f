"""One guarded step of L-BFGS; a line search is jaxopt's.

Without a line search L-BFGS needs one evaluation per step and converges best per evaluation on
these losses, but nothing stops a bad step. Two guards decide inside the compiled step:

* a pair of differences without positive curvature leaves the memory as it was;
* a step that raises the loss far, or whose loss or gradient is not finite, is taken back, the
  memory cleared and the step scale halved. With good steps the scale grows back, up to one.

References:
  Nocedal, Wright: Numerical Optimization, second edition, 2006, algorithms 7.4 and 7.5.
"""

import warnings
from collections.abc import Callable
from functools import cache, partial
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxnst._types import Image, Scalar

RISE = 0.5
"""Share of its last value by which a step may raise the loss before it is taken back."""

RECOVERY = 1.1
"""Factor by which the step scale grows back, up to one, with every good step. It shrinks faster, by
half: otherwise the first long step after a restart would be taken back again and again."""

CURVATURE = 1e-6
"""Least cosine between a step and its change of gradient for the pair to be kept."""

Function = Callable[[Image], tuple[Scalar, Any]]

T = TypeVar("T")


class LbfgsState(NamedTuple):
    """The last accepted point's value and gradient, and the pairs kept of earlier steps.

    A pair whose ``rho`` is 0 is empty: it takes no part in the direction.
    """

    value: Scalar
    grad: Image
    steps: Float[Array, "memory h w 3"]
    changes: Float[Array, "memory h w 3"]
    rho: Float[Array, " memory"]
    gamma: Scalar
    pairs: Int[Array, ""]
    scale: Scalar
    line_search_step: Scalar


class Trial(NamedTuple):
    """What a step proposes: a new point, evaluated, and its pair of differences."""

    x: Image
    value: Scalar
    aux: Any
    grad: Image
    rho: Scalar
    gamma: Scalar
    evaluations: Int[Array, ""]
    line_search_step: Scalar


class Outcome(NamedTuple):
    """An accepted point, or the old one with ``taken_back`` set."""

    x: Image
    aux: Any
    state: LbfgsState
    taken_back: Bool[Array, ""]
    evaluations: Int[Array, ""]


def init(x: Image, memory: int) -> LbfgsState:
    """Start before the first evaluation: with no gradient, the first step stays where it is."""
    zero = jnp.zeros((), x.dtype)
    return LbfgsState(
        value=jnp.asarray(jnp.inf, jnp.float32),
        grad=jnp.zeros_like(x),
        steps=jnp.zeros((memory, *x.shape), x.dtype),
        changes=jnp.zeros((memory, *x.shape), x.dtype),
        rho=jnp.zeros(memory, x.dtype),
        gamma=zero + 1,
        pairs=jnp.zeros((), int),
        scale=zero + 1,
        line_search_step=zero + 1,
    )


def step(
    fun: Function, x: Image, aux: Any, state: LbfgsState, rate: Scalar, line_search: str
) -> Outcome:
    """Take one step and judge it.

    ``x`` is the last accepted point, ``aux`` what ``fun``, ``x -> (loss, aux)``, returned beside
    the loss there. With the rate 1 it is the plain quasi-Newton step. ``line_search`` is ``fixed``
    (one evaluation) or ``zoom`` (jaxopt's, strong Wolfe conditions).
    """
    evaluations = jnp.zeros((), int)
    if line_search != "fixed":  # a search needs a value and a slope to begin with
        unknown = jnp.isinf(state.value)
        state, aux = lax.cond(unknown, partial(_evaluated, fun, x), lambda *same: same, state, aux)
        evaluations += unknown
    norm = jnp.sum(jnp.abs(state.grad))
    first = jnp.where(norm > 0, jnp.minimum(1, 1 / norm), 0)
    length = rate * state.scale * jnp.where(state.pairs == 0, first, 1)
    if line_search == "fixed":
        trial, state = _fixed(fun, x, state, length)
    else:
        trial = _searched(fun, x, state)
    return _judge(x, aux, state, trial._replace(evaluations=trial.evaluations + evaluations))


def _judge(x: Image, aux: Any, state: LbfgsState, trial: Trial) -> Outcome:
    """Apply both guards to a trial."""
    finite = jnp.isfinite(trial.value) & jnp.all(jnp.isfinite(trial.grad))
    bound = state.value + RISE * jnp.abs(state.value)
    good = finite & (trial.value <= bound)

    move, change = trial.x - x, trial.grad - state.grad
    lengths = jnp.sqrt(jnp.sum(move**2) * jnp.sum(change**2))
    curved = good & (trial.rho > 0) & (CURVATURE * lengths * trial.rho < 1)
    slot = state.pairs % state.rho.size

    def keep(history: Array, new: Array) -> Array:
        return history.at[slot].set(jnp.where(curved, new, history[slot]))

    judged = LbfgsState(
        value=jnp.where(good, trial.value, state.value),
        grad=jnp.where(good, trial.grad, state.grad),
        steps=keep(state.steps, move),
        changes=keep(state.changes, change),
        rho=jnp.where(good, keep(state.rho, trial.rho), 0),
        gamma=jnp.where(good, jnp.where(curved, trial.gamma, state.gamma), 1),
        pairs=jnp.where(good, state.pairs + curved, 0),
        scale=jnp.where(good, jnp.minimum(1, RECOVERY * state.scale), state.scale / 2),
        line_search_step=jnp.where(good, trial.line_search_step, 1),
    )
    return Outcome(
        x=pick(good, trial.x, x),
        aux=pick(good, trial.aux, aux),
        state=judged,
        taken_back=~good,
        evaluations=trial.evaluations,
    )


def pick(good: Bool[Array, ""], new: T, old: T) -> T:
    """Return what is new if that is good, else what is old: arrays, or pytrees of them."""
    return jax.tree.map(partial(jnp.where, good), new, old)


def _fixed(fun: Function, x: Image, state: LbfgsState, length: Scalar) -> tuple[Trial, LbfgsState]:
    """Propose a step of some length, without a search; the state comes back as it was."""
    uphill, state = _uphill(state)
    new_x = x - length * uphill
    (value, aux), grad = jax.value_and_grad(fun, has_aux=True)(new_x)
    change = grad - state.grad
    product, square = _dot(new_x - x, change), _dot(change, change)
    trial = Trial(
        x=new_x,
        value=value,
        aux=aux,
        grad=grad,
        rho=jnp.where(product == 0, 0, 1 / product),
        gamma=jnp.where(square > 0, product / square, 1),
        evaluations=jnp.ones((), int),
        line_search_step=state.line_search_step,
    )
    return trial, state


def _uphill(state: LbfgsState) -> tuple[Image, LbfgsState]:
    """Multiply the gradient by the inverse Hessian that the pairs stand for (algorithm 7.4).

    Returns:
      The product, and the state again. Its pairs are those that come out of the loops: XLA would
      copy the ones that go in if they were used, and updated, afterwards.
    """
    memory = state.rho.size

    def slot(age: Array) -> Array:
        return (state.pairs - 1 - age) % memory

    def newest_first(age: Array, carry: Any) -> Any:
        uphill, shares, steps, changes = carry
        i = slot(age)
        share = state.rho[i] * _dot(steps[i], uphill)
        return uphill - share * changes[i], shares.at[i].set(share), steps, changes

    def oldest_first(count: Array, carry: Any) -> Any:
        uphill, shares, steps, changes = carry
        i = slot(memory - 1 - count)
        share = shares[i] - state.rho[i] * _dot(changes[i], uphill)
        return uphill + share * steps[i], shares, steps, changes

    carry = state.grad, jnp.zeros_like(state.rho), state.steps, state.changes
    uphill, *carry = lax.fori_loop(0, memory, newest_first, carry)
    carry = state.gamma * uphill, *carry
    uphill, _, steps, changes = lax.fori_loop(0, memory, oldest_first, carry)
    return uphill, state._replace(steps=steps, changes=changes)


def _dot(one: Image, other: Image) -> Scalar:
    return jnp.vdot(one, other, precision=lax.Precision.HIGHEST)


def _searched(fun: Function, x: Image, state: LbfgsState) -> Trial:
    """Propose a step that jaxopt's search finds long enough."""
    module = jaxopt()
    assert module is not None
    solver = module.LBFGS(
        fun,
        has_aux=True,
        tol=0.0,
        stepsize=0.0,
        linesearch="zoom",
        history_size=state.rho.size,
        implicit_diff=False,
    )
    zero = jnp.zeros((), int)
    before = module._src.lbfgs.LbfgsState(
        iter_num=state.pairs,
        value=state.value,
        grad=state.grad,
        stepsize=state.line_search_step,
        error=state.value,
        s_history=state.steps,
        y_history=state.changes,
        rho_history=state.rho,
        gamma=state.gamma,
        num_fun_eval=zero,
        num_grad_eval=zero,
        num_linesearch_iter=zero,
    )
    new_x, after = solver.update(x, before)
    slot = state.pairs % state.rho.size
    return Trial(
        x=new_x,
        value=after.value,
        aux=after.aux,
        grad=after.grad,
        rho=after.rho_history[slot],
        gamma=after.gamma,
        evaluations=after.num_fun_eval,
        line_search_step=after.stepsize,
    )


def _evaluated(fun: Function, x: Image, state: LbfgsState, aux: Any) -> tuple[LbfgsState, Any]:
    """Evaluate the starting point; if its loss is not finite, leave everything as it was."""
    (value, found), grad = jax.value_and_grad(fun, has_aux=True)(x)
    good = jnp.isfinite(value) & jnp.all(jnp.isfinite(grad))
    value, grad = pick(good, (value, grad), (state.value, state.grad))
    return state._replace(value=value, grad=grad), pick(good, found, aux)


@cache
def jaxopt() -> ModuleType | None:
    """Import jaxopt, which is no longer maintained and warns of that, or return None."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "JAXopt is no longer maintained", DeprecationWarning)
            import jaxopt as module
    except ImportError:
        return None
    return module

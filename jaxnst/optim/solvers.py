"""The compiled loop that follows a loss downhill, in chunks.

:func:`advance` takes any number of steps in one call. The number is a traced loop bound: where
chunks end neither changes the result nor compiles anything, so between chunks the host can look
at the image, report and stop. The loss is evaluated at one place in the program, since every
further place would be compiled again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from jaxnst._checks import lookup
from jaxnst._numerics import default_numerics
from jaxnst._types import Image, Scalar
from jaxnst.optim import lbfgs
from jaxnst.optim.preconditioner import amplify_coarse, pyramid_length, sum_pyramid
from jaxnst.recipes.schema import Recipe

CHUNK = 64
"""Greatest number of steps in one call: the size of the record that comes back."""


@dataclass(frozen=True)
class SolverConfig:
    """What decides the program of a solver, and the coordinates in which it moves.

    The host handles ``round`` and ``carry`` between two calls: no program reads them, so methods
    that differ in nothing else are equal and share their programs.
    """

    kind: str
    memory: int
    line_search: str
    precondition: float
    pyramid: bool
    bounded: bool
    averaged: bool
    round: int | None = field(compare=False)
    carry: bool = field(compare=False)


class Hyperparameters(NamedTuple):
    """The numbers of a solver."""

    learning_rate: Scalar
    betas: Float[Array, " 2"]
    bounds: Float[Array, " 2"]
    average: Scalar


Point: TypeAlias = Float[Array, "..."]
"""What a solver moves: an image, or ``(n,)`` coefficients."""


class State(NamedTuple):
    """Where a run stands.

    ``point`` is the image or, where solvers move in other coordinates, those of its difference from
    ``origin``: what S turns into it, or the coefficients of its Laplacian pyramid. ``terms`` are
    the last finite losses, infinite before there are any: of ``point`` with L-BFGS, which evaluates
    after it moves, of the point before with Adam, which evaluates first. ``evaluations`` counts
    evaluations of the loss, ``restarts`` steps taken back.
    """

    point: Point
    terms: Float[Array, " terms"]
    solver: Any
    evaluations: Int[Array, ""]
    restarts: Int[Array, ""]
    origin: Image | None


class AdamState(NamedTuple):
    """Adam's moments, the last point with a finite loss, and a decaying sum of iterates."""

    moments: Any
    last: Point
    scale: Scalar
    total: Point
    share: Scalar


class Solver(NamedTuple):
    """A way of going downhill: how its state begins, one step, and the picture it shows.

    Attributes:
      learning_rate: Default, for recipes without one.
      init: Makes its state.
      step: Takes a step.
      picture: Returns the point to show.
      in_picture: Whether ``picture`` reads the solver's state, which must then outlive a step.
      carry: From a scale's fresh state and the last one of the scale before, makes the state to
        begin with; None: nothing is carried over.
    """

    learning_rate: float
    init: Callable[[SolverConfig, Point], Any]
    step: Callable[[Callable[..., Any], SolverConfig, Hyperparameters, State], State]
    picture: Callable[[SolverConfig, State], Point]
    in_picture: bool
    carry: Callable[[Any, Any], Any] | None


@default_numerics()
def make_solver(recipe: Recipe) -> tuple[SolverConfig, Hyperparameters]:
    """Split a recipe's solver into structure and numbers.

    Raises:
      ValueError: If there is no such solver, or jaxopt is missing for what it alone can do.
    """
    s = recipe.solver
    solver = lookup("optimizer", s.kind, SOLVERS)
    if s.kind == "lbfgs" and s.line_search != "fixed" and lbfgs.jaxopt() is None:
        raise ValueError(f"line search {s.line_search!r} needs jaxopt: install it or use 'fixed'")
    rate = solver.learning_rate if s.learning_rate is None else s.learning_rate
    bounds = recipe.bounds or (-float("inf"), float("inf"))
    method = SolverConfig(
        kind=s.kind,
        memory=s.pairs,
        line_search=s.line_search,
        precondition=s.precondition if s.kind == "lbfgs" else 0.0,
        pyramid=s.pyramid and s.kind == "adam",
        round=s.round if s.kind == "lbfgs" else None,
        bounded=recipe.bounds is not None,
        averaged=s.average > 0,
        carry=s.carry and solver.carry is not None,
    )
    return method, Hyperparameters(
        jnp.asarray(rate, float),
        jnp.asarray(s.betas, float),
        jnp.asarray(bounds, float),
        jnp.asarray(s.average, float),
    )


def start(method: SolverConfig, image: Image, terms: int) -> State:
    """Make the state before the first evaluation; ``terms`` is the length of the loss record."""
    point = jnp.zeros_like(image) if method.precondition else image
    if method.pyramid:
        height, width, _ = image.shape
        point = jnp.zeros(pyramid_length((height, width)), image.dtype)
    return State(
        point=point,
        terms=jnp.full(terms, jnp.inf, jnp.float32),
        solver=SOLVERS[method.kind].init(method, point),
        evaluations=jnp.zeros((), int),
        restarts=jnp.zeros((), int),
        origin=image if method.precondition or method.pyramid else None,
    )


def state_shapes(method: SolverConfig, size: tuple[int, int], terms: int) -> State:
    """Return the shapes of the state of an image of some height and width."""
    image = jax.ShapeDtypeStruct((*size, 3), jnp.float32)  # type: ignore[no-untyped-call]
    return jax.eval_shape(lambda x: start(method, x, terms), image)


@partial(jax.jit, static_argnums=0)
def start_after(method: SolverConfig, image: Image, before: State) -> State:
    """Begin a scale with what the solver learned at the one before; only with ``method.carry``.

    Counts and averages start over, as in :func:`start`.
    """
    state, carry = start(method, image, before.terms.size), SOLVERS[method.kind].carry
    assert carry is not None
    return state._replace(solver=carry(state.solver, before.solver))


def restart(method: SolverConfig, rates: Hyperparameters, state: State) -> State:
    """Start over where a run stands: with an empty memory, the image clipped to the bounds."""
    image = picture(method, state)
    if method.bounded:
        image = jnp.clip(image, rates.bounds[0], rates.bounds[1])
    return start(method, image, state.terms.size)._replace(
        evaluations=state.evaluations, restarts=state.restarts
    )


@partial(jax.jit, static_argnums=(0, 1))
def advance(
    fun: Callable[..., tuple[Scalar, Float[Array, " terms"]]],
    method: SolverConfig,
    args: tuple[Any, ...],
    rates: Hyperparameters,
    state: State,
    steps: Int[Array, ""],
    budget: Int[Array, ""],
) -> tuple[State, Float[Array, "chunk terms"]]:
    """Take ``steps`` steps, fewer if a line search has used up the budget of evaluations.

    Args:
      fun: ``fun(image, *args) -> (loss, terms)``, hashable; one whose ``by_neighbors`` is true is
        passed the number of evaluations before as a last argument. Static.
      method: Static.
      args: Everything that ``fun`` needs; traced.
      rates: Traced.
      state: From :func:`start` or the last call.
      steps: At most CHUNK. With 0 nothing happens, except that the program is compiled.
      budget: Evaluations in all, counted from the start of the state.

    Returns:
      The new state, and its terms after each of the steps (rows beyond are NaN).
    """
    take, origin = SOLVERS[method.kind].step, state.origin
    record = jnp.full((CHUNK, state.terms.size), jnp.nan)

    def proceed(carry: tuple[Array, State, Array]) -> Array:
        i, state, _ = carry
        if method.line_search == "fixed":
            return i < steps  # one evaluation per step: the caller's count is exact
        return (i < steps) & (state.evaluations < budget)

    def body(carry: tuple[Array, State, Array]) -> tuple[Array, State, Array]:
        i, state, record = carry
        count = (state.evaluations,) if getattr(fun, "by_neighbors", False) else ()
        state = take(lambda x: fun(_image(method, origin, x), *args, *count), method, rates, state)
        return i + 1, state, record.at[i].set(state.terms)

    # The origin stays as it is: outside of the loop it is not copied.
    carry = jnp.zeros_like(steps), state._replace(origin=None), record
    _, state, record = lax.while_loop(proceed, body, carry)
    return state._replace(origin=origin), record


def advance_over(
    fun: Callable[..., tuple[Scalar, Float[Array, " terms"]]],
    method: SolverConfig,
    args: tuple[Any, ...],
    rates: Hyperparameters,
    state: State,
    steps: Int[Array, ""],
    budget: Int[Array, ""],
) -> tuple[State, Float[Array, "chunk terms"]]:
    """Do as :func:`advance`, reusing the memory of ``state.solver``: do not read it afterwards.

    The old state can still be shown: a solver whose state a picture needs keeps its memory.
    """
    program, parts = _in_place(method, state)
    new, record = program(fun, method, args, rates, *parts, steps, budget)
    return new._replace(origin=state.origin), record


def lower_over(
    fun: Callable[..., Any], method: SolverConfig, args: Any, rates: Any, state: Any, *counts: Any
) -> jax.stages.Lowered:
    """Lower the program that :func:`advance_over` runs, for arrays or their shapes."""
    program, parts = _in_place(method, state)
    return program.lower(fun, method, args, rates, *parts, *counts)


def _in_place(method: SolverConfig, state: State) -> tuple[Any, tuple[Any, ...]]:
    """Return the program that reuses a state's memory, and the state in the form it takes."""
    if SOLVERS[method.kind].in_picture:
        return advance, (state,)
    return _advance_over, (shown_part(method, state), state.solver)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=5)
def _advance_over(
    fun: Callable[..., Any],
    method: SolverConfig,
    args: tuple[Any, ...],
    rates: Hyperparameters,
    rest: State,
    solver: Any,
    steps: Int[Array, ""],
    budget: Int[Array, ""],
) -> tuple[State, Float[Array, "chunk terms"]]:
    state = rest._replace(solver=solver)
    state, record = advance(fun, method, args, rates, state, steps, budget)
    return state._replace(origin=None), record  # the caller has it: it is not copied


def shown_part(method: SolverConfig, state: State) -> State:
    """Return what :func:`picture` reads of a state, which :func:`advance_over` leaves as it is."""
    return state if SOLVERS[method.kind].in_picture else state._replace(solver=None)


def picture(method: SolverConfig, state: State) -> Image:
    """Return the image to show and hand on: the averaged iterate where the method has one."""
    return _image(method, state.origin, SOLVERS[method.kind].picture(method, state))


def _image(method: SolverConfig, origin: Image | None, point: Point) -> Image:
    """Return the image that a point stands for."""
    if origin is None:
        return point
    if method.pyramid:
        height, width, _ = origin.shape
        return origin + sum_pyramid(point, (height, width))
    return origin + amplify_coarse(point, method.precondition)


def _lbfgs_step(
    fun: Callable[..., Any], method: SolverConfig, rates: Hyperparameters, state: State
) -> State:
    outcome = lbfgs.step(
        fun, state.point, state.terms, state.solver, rates.learning_rate, method.line_search
    )
    return state._replace(
        point=outcome.x,
        terms=outcome.aux,
        solver=outcome.state,
        evaluations=state.evaluations + outcome.evaluations,
        restarts=state.restarts + outcome.taken_back,
    )


def _adam_init(method: SolverConfig, point: Point) -> AdamState:
    zero = jnp.zeros((), point.dtype)
    moments = optax.scale_by_adam().init(point)
    return AdamState(moments, point, zero + 1, jnp.zeros_like(point), zero)


def _adam_carry(new: AdamState, before: AdamState) -> AdamState:
    """Enlarge the moments to the new scale and keep their count, as style-transfer-pytorch does."""
    old, shape = before.moments, new.last.shape
    enlarged = old._replace(
        mu=jax.image.resize(old.mu, shape, "cubic"),
        nu=jax.image.resize(old.nu, shape, "linear"),  # which makes nothing negative
    )
    return new._replace(moments=enlarged)


def _adam_step(
    fun: Callable[..., Any], method: SolverConfig, rates: Hyperparameters, state: State
) -> State:
    """Evaluate at the current point, then move; from one without a finite loss, move back."""
    solver: AdamState = state.solver
    (value, terms), grad = jax.value_and_grad(fun, has_aux=True)(state.point)
    good = jnp.isfinite(value) & jnp.all(jnp.isfinite(grad))
    update = optax.scale_by_adam(b1=rates.betas[0], b2=rates.betas[1]).update
    direction, moments = update(grad, solver.moments)
    moved = state.point - rates.learning_rate * solver.scale * direction
    if method.bounded:
        moved = jnp.clip(moved, rates.bounds[0], rates.bounds[1])
    pick = partial(lbfgs.pick, good)
    keep = rates.average
    fresh = optax.scale_by_adam().init(state.point)
    return state._replace(
        point=pick(moved, solver.last),
        terms=pick(terms, state.terms),
        solver=AdamState(
            moments=pick(moments, fresh),
            last=pick(state.point, solver.last),
            scale=pick(jnp.minimum(1, lbfgs.RECOVERY * solver.scale), solver.scale / 2),
            total=pick(keep * solver.total + (1 - keep) * moved, solver.total),
            share=pick(keep * solver.share + (1 - keep), solver.share),
        ),
        evaluations=state.evaluations + 1,
        restarts=state.restarts + ~good,
    )


def _adam_picture(method: SolverConfig, state: State) -> Point:
    solver: AdamState = state.solver
    if not method.averaged:
        return state.point
    return jnp.where(solver.share > 0, solver.total / jnp.maximum(solver.share, 1e-30), state.point)


SOLVERS = {
    "lbfgs": Solver(
        learning_rate=1.0,
        init=lambda method, image: lbfgs.init(image, method.memory),
        step=_lbfgs_step,
        picture=lambda method, state: state.point,
        in_picture=False,
        carry=None,
    ),
    "adam": Solver(
        learning_rate=0.02,
        init=_adam_init,
        step=_adam_step,
        picture=_adam_picture,
        in_picture=True,
        carry=_adam_carry,
    ),
}
"""Solvers by name; a recipe's ``solver.kind`` is looked up here."""

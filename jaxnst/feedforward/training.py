"""Training of networks on crops of pictures: one compiled step, and the loop around it.

What is learned is the caller's: a loss is a hashable callable ``(params, frozen, images) -> (total,
terms)``, the mean over a batch of RGB crops in [0, 1]. Batch number i is what step i sees, and the
state after a step follows from the state before and its batch alone, so a run that goes on from
a checkpoint takes the very steps that it would have taken.

References:
  Kingma, Ba: Adam: A Method for Stochastic Optimization. ICLR 2015.
  Jordan et al.: Muon: An optimizer for hidden layers in neural networks. 2024; scaled as in Liu et
  al.: Muon is Scalable for LLM Training. arXiv:2502.16982.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, UInt8
from numpy.typing import NDArray
from optax import contrib

from jaxnst._numerics import own_numerics
from jaxnst._types import Scalar
from jaxnst.feedforward.crops import Batch
from jaxnst.feedforward.settings import Optimizer, Training
from jaxnst.optim.sharding import APART, AXIS, WHOLE, default_device, mesh_of, shared

Tree = Any
"""A pytree of arrays, such as a module's parameters."""


@runtime_checkable
class Loss(Protocol):
    """What is minimised: hashable, so that a program is compiled once for all that are equal."""

    def __call__(
        self, params: Tree, frozen: Tree, images: Float[Array, "batch h w 3"]
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the mean over the batch, and its terms by name."""


class TrainState(NamedTuple):
    """Where a training run stands: parameters, and the optimiser's moments."""

    params: Tree
    moments: Tree


def begin(params: Tree, optimizer: Optimizer) -> TrainState:
    """Make the state before the first step."""
    return TrainState(params, _optimizer(optimizer).init(params))


@cache
def _optimizer(name: Optimizer) -> optax.GradientTransformation:
    """Return it at a step scale of 1: the scale is traced, and comes in afterwards."""
    if name == "adam":
        return optax.adam(1.0, b1=0.9, b2=0.99)
    return contrib.muon(
        1.0,
        adam_b2=0.99,
        muon_weight_dimension_numbers=_matrices,
        consistent_rms=0.2,  # as large as Adam's updates are, so that one rate serves both
    )


def _matrices(params: Tree) -> Tree:
    """Say which kernels Muon takes, as matrices: out, by in times height times width."""
    as_matrix = contrib.MuonDimensionNumbers((0, 1, 2), 3)

    def of(leaf: Array) -> Any:
        hidden = leaf.ndim == 4 and min(leaf.shape[2:]) > 3  # neither from RGB nor to it
        return as_matrix if hidden else None

    return jax.tree.map(of, params)


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def train_step(
    loss: Loss,
    optimizer: Optimizer,
    mesh: Mesh,
    state: TrainState,
    frozen: Tree,
    images: UInt8[Array, "batch h w 3"],
    rate: Scalar,
) -> tuple[TrainState, dict[str, Scalar]]:
    """Take one step. ``state`` is gone afterwards: its memory is used again.

    Args:
      loss: What is minimised.
      optimizer: By what.
      mesh: Of the devices that share the batch, as in :mod:`jaxnst.optim.sharding`.
      state: The parameters and moments, whole on every device.
      frozen: What else the loss depends on, whole on every device.
      images: RGB, 0 to 255.
      rate: The step's scale.

    Returns:
      The next state, and the loss before the step: ``total`` and its terms.
    """

    def of_a_device(params: Tree, frozen: Tree, images: Array) -> Any:
        pixels = images.astype(jnp.float32) / 255
        found, gradient = jax.value_and_grad(loss, has_aux=True)(params, frozen, pixels)
        means: Any = lax.pmean(  # type: ignore[no-untyped-call]
            ({"total": found[0], **found[1]}, gradient), AXIS
        )
        return means

    # All have equal shares, so the mean of their means is the mean.
    split = jax.shard_map(
        of_a_device, mesh=mesh, in_specs=(WHOLE, WHOLE, APART), out_specs=WHOLE, check_vma=False
    )
    losses, gradient = split(state.params, frozen, images)
    updates, moments = _optimizer(optimizer).update(gradient, state.moments, state.params)
    params = jax.tree.map(lambda p, u: p + rate * u, state.params, updates)
    return TrainState(params, moments), losses


class Place(NamedTuple):
    """Where a training run is, with all that it takes to go on from there.

    Attributes:
      step: Steps that were taken.
      state: After them.
      losses: ``(step, terms)``: those of every step.
      seconds: Spent.
    """

    step: int
    state: TrainState
    losses: NDArray[np.float32]
    seconds: float


@runtime_checkable
class Keeper(Protocol):
    """Keeps places, as :class:`jaxnst.feedforward.checkpoints.Checkpoints` does."""

    def restore(self, state: TrainState, terms: Sequence[str]) -> Place | None:
        """Return the last place that was kept, if there is one, like a state in structure."""

    def due(self) -> bool:
        """Say whether it is time to keep one."""

    def keep(self, place: Place) -> None:
        """Keep one."""


class Report(NamedTuple):
    """What a training run tells after a step.

    Attributes:
      step: Steps that were taken.
      steps: Steps in all.
      losses: Of the last of them, before it: ``total`` and its terms.
      rate: The step's scale.
      seconds: Since the run began, whatever was spent before it was gone on with included.
      params: The parameters, to be looked at before the report is answered.
      broken: Numbers of pictures that could not be decoded, found in this step's batch.
    """

    step: int
    steps: int
    losses: dict[str, float]
    rate: float
    seconds: float
    params: Tree
    broken: tuple[int, ...]


class Trained(NamedTuple):
    """What training has made.

    Attributes:
      params: The parameters, on the host.
      step: Steps that were taken: fewer than were asked for if it was stopped.
      losses: Of every step by name, ``(step,)`` each.
      seconds: Spent on them.
    """

    params: Tree
    step: int
    losses: dict[str, NDArray[np.float32]]
    seconds: float


@own_numerics()
def train(
    loss: Loss,
    params: Tree,
    frozen: Tree,
    batches: Callable[[int], Iterator[Batch]],
    settings: Training,
    *,
    devices: Sequence[jax.Device] | None = None,
    keeper: Keeper | None = None,
    callback: Callable[[Report], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train a network, or go on with its training.

    Args:
      loss: What is minimised.
      params: At the start.
      frozen: What else the loss depends on.
      batches: From the number of a step to the batches from there on.
      settings: How.
      devices: Those that share each batch, in equal parts; None: the default one.
      keeper: Of checkpoints; if it has one, that is gone on from. None: there are none.
      callback: Told of every step.
      stop: Asked after every step whether that was enough.

    Raises:
      ValueError: The loss or the network is not finite any more. No such place is kept.
    """
    mesh = mesh_of(settings.batch, [default_device()] if devices is None else devices)
    # A copy: the first step is going to use its memory.
    state = shared(mesh, begin(jax.tree.map(jnp.array, params), settings.optimizer))
    frozen = shared(mesh, frozen)
    terms = _terms(loss, state, frozen, settings)
    place = keeper.restore(state, terms) if keeper is not None else None
    kept = place is not None
    place = place or Place(0, state, np.zeros((0, len(terms)), np.float32), 0.0)
    step, state, before = place.step, place.state, place.seconds
    rows, begun = list(place.losses), time.perf_counter()
    source = batches(step)

    def here() -> Place:
        seconds = before + time.perf_counter() - begun
        return Place(step, state, np.array(rows, np.float32).reshape(-1, len(terms)), seconds)

    try:
        ready = _placed(mesh, source) if step < settings.steps else None
        while ready is not None:
            rate = settings.rate_at(step)
            images, broken = ready
            state, found = train_step(
                loss, settings.optimizer, mesh, state, frozen, images, jnp.float32(rate)
            )
            step += 1
            ready = _placed(mesh, source) if step < settings.steps else None  # while it computes
            values = jax.device_get(found)
            losses = {name: float(values[name]) for name in terms}
            _check("loss", losses, step, settings, kept=kept)
            rows.append(np.array([losses[name] for name in terms], np.float32))
            if callback is not None:
                seconds = before + time.perf_counter() - begun
                report = (step, settings.steps, losses, rate, seconds, state.params, broken)
                callback(Report(*report))
            over = ready is None or (stop is not None and stop())
            if over or (keeper is not None and keeper.due()):
                # The loss was that before the step.
                _check("network", state.params, step, settings, kept=kept)
                if keeper is not None:
                    keeper.keep(here())
                    kept = True
            if over:
                break
    finally:
        getattr(source, "close", lambda: None)()
    end = here()
    table = {name: end.losses[:, i] for i, name in enumerate(terms)}
    return Trained(jax.device_get(end.state.params), end.step, table, end.seconds)


def _placed(mesh: Mesh, source: Iterator[Batch]) -> tuple[Array, tuple[int, ...]]:
    """Bring a batch to its devices, a share to each."""
    batch = next(source)
    images = jax.device_put(batch.images, NamedSharding(mesh, APART))
    return images, tuple(int(number) for number in batch.broken if number >= 0)


def _terms(loss: Loss, state: TrainState, frozen: Tree, settings: Training) -> tuple[str, ...]:
    """Name the loss and its terms; nothing is computed."""
    shape = (settings.batch, settings.crop, settings.crop, 3)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)  # type: ignore[no-untyped-call]
    _, terms = jax.eval_shape(loss, state.params, frozen, images)
    return ("total", *terms)


def _check(what: str, values: Tree, step: int, settings: Training, *, kept: bool) -> None:
    """Refuse what is not finite; ``kept`` says whether there is a checkpoint."""
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(values))):
        where = ", in another folder of checkpoints or with this one deleted" if kept else ""
        raise ValueError(
            f"the {what} is not finite after {step} steps: begin anew with a smaller rate than "
            f"{settings.rate:g}{where}"
        )

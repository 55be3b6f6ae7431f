"""Training of networks on crops of pictures: one compiled step, and the loop around it.

The caller defines what is learned by a loss, a hashable callable ``(params, frozen, images) ->
(total, terms)``, the mean over a batch of RGB crops in [0, 1]. Step i uses batch number i, and the
state after a step depends only on the state before and the batch, so a run that resumes from a
checkpoint takes exactly the steps that it would have taken without the interruption.

References:
  He, Zhang, Ren, Sun: Delving Deep into Rectifiers. ICCV 2015.
  Kingma, Ba: Adam: A Method for Stochastic Optimization. ICLR 2015.
  Jordan et al.: Muon: An optimizer for hidden layers in neural networks. 2024; scaled as in Liu et
  al.: Muon is Scalable for LLM Training. arXiv:2502.16982.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, UInt8
from numpy.typing import NDArray
from optax import contrib

from jaxnst._numerics import default_numerics
from jaxnst._types import Scalar
from jaxnst.feedforward.checkpoints import Checkpoint, Checkpoints, TrainState, Tree
from jaxnst.feedforward.crops import Batch
from jaxnst.feedforward.settings import Optimizer, Training
from jaxnst.networks.convnet import Shapes
from jaxnst.networks.registry import Params
from jaxnst.optim.sharding import APART, AXIS, WHOLE, default_device, mesh_of, shared

Loss = Callable[[Tree, Tree, Array], tuple[Scalar, dict[str, Scalar]]]
"""Maps parameters, other arrays and images ``(batch, h, w, 3)`` to the mean loss over the batch and
its terms by name. It is hashable: equal losses share one compiled program."""


@default_numerics()
def initial_parameters(
    shapes: Shapes, *, seed: int = 0, factors: Mapping[str, float] | None = None
) -> Params:
    """Draw kernels as He et al. 2015 do: normal, with a variance of 2 over the number of inputs.

    Factors and variances of normalizations are 1, everything else is 0. NumPy draws the numbers:
    the same seed gives the same values with every version of JAX, and nothing is compiled.

    Args:
      shapes: Shapes of the parameters by flat name, ``conv1/kernel``, with the outputs last.
      seed: Seed of the random numbers.
      factors: Factors by which parameters are multiplied, by flat name. A small last kernel makes
        the first pictures an even gray, which is far from no color.

    Returns:
      Parameters by layer, float32.
    """
    rng, params = np.random.default_rng(seed), Params()
    for name, shape in shapes.items():
        layer, part = name.split("/")
        values = np.full(shape, float(part in ("gamma", "variance")))
        if part == "kernel":
            values = rng.normal(0, math.sqrt(2 / math.prod(shape[:-1])), shape)
        values *= (factors or {}).get(name, 1.0)
        params.setdefault(layer, {})[part] = jnp.asarray(values, jnp.float32)
    return params


def initial_state(params: Tree, optimizer: Optimizer) -> TrainState:
    """Make the state before the first step."""
    return TrainState(params, _optimizer(optimizer).init(params))


@cache
def _optimizer(name: Optimizer) -> optax.GradientTransformation:
    """Return an optimizer with a learning rate of 1; updates are multiplied by the traced rate."""
    if name == "adam":
        return optax.adam(1.0, b1=0.9, b2=0.99)
    return contrib.muon(
        1.0,
        adam_b2=0.99,
        muon_weight_dimension_numbers=_matrices,
        consistent_rms=0.2,  # updates as large as Adam's, so that one rate suits both
    )


def _matrices(params: Tree) -> Tree:
    """Mark the kernels that Muon updates, as matrices of inputs and positions by outputs."""
    as_matrix = contrib.MuonDimensionNumbers((0, 1, 2), 3)
    # All kernels but those with RGB as their input or output.
    return jax.tree.map(
        lambda leaf: as_matrix if leaf.ndim == 4 and min(leaf.shape[2:]) > 3 else None, params
    )


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
    """Take one step. ``state`` is donated: its memory is reused.

    Args:
      loss: The loss to minimize.
      optimizer: Name of the optimizer.
      mesh: The devices that share the batch, from :func:`jaxnst.optim.sharding.mesh_of`.
      state: Parameters and moments, replicated on every device.
      frozen: Constants of the loss, replicated on every device.
      images: RGB, 0 to 255.
      rate: The learning rate.

    Returns:
      The next state, and the losses before the step: ``total`` and its terms.
    """

    def on_a_device(params: Tree, frozen: Tree, images: Array) -> Any:
        pixels = images.astype(jnp.float32) / 255
        (total, terms), gradient = jax.value_and_grad(loss, has_aux=True)(params, frozen, pixels)
        means: Any = lax.pmean(  # type: ignore[no-untyped-call]
            ({"total": total, **terms}, gradient), AXIS
        )
        return means

    # Shares are equal, so the mean of the devices' means is the mean.
    split = jax.shard_map(
        on_a_device, mesh=mesh, in_specs=(WHOLE, WHOLE, APART), out_specs=WHOLE, check_vma=False
    )
    losses, gradient = split(state.params, frozen, images)
    updates, moments = _optimizer(optimizer).update(gradient, state.moments, state.params)
    params = jax.tree.map(lambda p, u: p + rate * u, state.params, updates)
    return TrainState(params, moments), losses


class Report(NamedTuple):
    """The argument of a training run's callback after every step.

    Attributes:
      step: Number of steps taken.
      steps: Number of steps of the whole run.
      losses: Losses before every step by name, ``total`` and its terms; not a copy.
      rate: Learning rate of the last step.
      seconds: Time since the run began, including the time before an interruption.
      params: The parameters; their memory is reused after the callback returns.
      broken: Numbers of pictures in the last batch that could not be decoded.
    """

    step: int
    steps: int
    losses: dict[str, list[float]]
    rate: float
    seconds: float
    params: Tree
    broken: tuple[int, ...]


class Trained(NamedTuple):
    """The result of training.

    Attributes:
      params: The parameters, on the host.
      step: Number of steps taken, fewer than in the settings if the run was stopped.
      losses: Losses of every step by name, ``(step,)`` each.
      seconds: Time spent.
    """

    params: Tree
    step: int
    losses: dict[str, NDArray[np.float32]]
    seconds: float


@default_numerics()
def train(
    loss: Loss,
    params: Tree,
    frozen: Tree,
    batches: Callable[[int], Iterator[Batch]],
    settings: Training,
    *,
    devices: Sequence[jax.Device] | None = None,
    checkpoints: Checkpoints | None = None,
    callback: Callable[[Report], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train a network, or resume its training.

    Args:
      loss: The loss to minimize.
      params: Initial parameters.
      frozen: Constants of the loss.
      batches: Maps the number of a step to an iterator over the batches from that step on.
      settings: Steps, size of batches and crops, optimizer and learning rate.
      devices: Devices that share each batch, in equal parts; None: the default one.
      checkpoints: Checkpoints to write; training resumes from the last one in the folder.
      callback: Called after every step.
      stop: Called after every step; true ends the training.

    Raises:
      ValueError: The loss or the network is no longer finite. No such state is kept.
    """
    mesh = mesh_of(settings.batch, [default_device()] if devices is None else devices)
    # A copy: the first step reuses its memory.
    state = shared(mesh, initial_state(jax.tree.map(jnp.array, params), settings.optimizer))
    frozen = shared(mesh, frozen)
    shape = (settings.batch, settings.crop, settings.crop, 3)
    crops = jax.ShapeDtypeStruct(shape, jnp.float32)  # type: ignore[no-untyped-call]
    terms = ("total", *jax.eval_shape(loss, state.params, frozen, crops)[1])
    resumed = None if checkpoints is None else checkpoints.restore(state, terms)
    step, begin, is_kept = 0, time.perf_counter(), resumed is not None
    losses: dict[str, list[float]] = {name: [] for name in terms}
    if resumed is not None:
        step, state, begin = resumed.step, resumed.state, begin - resumed.seconds
        losses = dict(zip(terms, resumed.losses.T.tolist(), strict=True))
    source = batches(step)

    def next_batch() -> tuple[Array, tuple[int, ...]] | None:
        """Move a batch to its devices, a share to each, unless all steps have been taken."""
        if step >= settings.steps:
            return None
        batch = next(source)
        images = jax.device_put(batch.images, NamedSharding(mesh, APART))
        return images, tuple(int(number) for number in batch.broken if number >= 0)

    def check(what: str, values: Tree) -> None:
        """Refuse values that are not finite."""
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(values))):
            where = ", in another folder of checkpoints or after deleting this one" * is_kept
            raise ValueError(
                f"the {what} is not finite after {step} steps: start over with a smaller rate than "
                f"{settings.rate:g}{where}"
            )

    try:
        ready = next_batch()
        while ready is not None:
            (images, broken), rate = ready, settings.rate_at(step)
            state, values = train_step(
                loss, settings.optimizer, mesh, state, frozen, images, jnp.float32(rate)
            )
            step += 1
            ready = next_batch()  # while the step is computed
            values = jax.device_get(values)
            for name in terms:
                losses[name].append(float(values[name]))
            check("loss", values)
            seconds = time.perf_counter() - begin
            if callback is not None:
                report = step, settings.steps, losses, rate, seconds, state.params, broken
                callback(Report(*report))
            is_last = ready is None or (stop is not None and stop())
            if is_last or (checkpoints is not None and checkpoints.due()):
                check("network", state.params)  # the loss was that before the step
                if checkpoints is not None:
                    table = np.array([*losses.values()], np.float32).T
                    checkpoints.save(Checkpoint(step, state, table, seconds))
                    is_kept = True
            if is_last:
                break
    finally:
        getattr(source, "close", lambda: None)()
    arrays = {name: np.array(values, np.float32) for name, values in losses.items()}
    return Trained(jax.device_get(state.params), step, arrays, time.perf_counter() - begin)

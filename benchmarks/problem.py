"""The loss that the benchmarks evaluate: the default recipe's, on pictures made from a seed."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnst
from jaxnst.losses.objective import (
    LossWeights,
    Objective,
    Targets,
    content_targets,
    make_loss_weights,
    make_objective,
    style_summaries,
    style_targets,
)
from jaxnst.networks import LossNetwork, init_network
from jaxnst.networks.color_space import encode
from jaxnst.networks.registry import Params

QUICK_SIDE = 64


class Problem(NamedTuple):
    """A loss with everything it needs, at a point that is neither content nor style."""

    case: str
    objective: Objective
    params: Params
    targets: Targets
    numbers: LossWeights
    image: jax.Array

    @property
    def arguments(self) -> tuple[jax.Array, Params, Targets, LossWeights]:
        """What the objective is called with."""
        return self.image, self.params, self.targets, self.numbers

    @property
    def details(self) -> dict[str, object]:
        """What a record says of it."""
        height, width, _ = self.image.shape
        network = self.objective.network.name
        return {"network": network, "size": [height, width], "dtype": str(self.image.dtype)}


def make_problem(
    name: str, size: tuple[int, int], *, quick: bool = False, remat: bool = False
) -> Problem:
    """Set up the default recipe's loss on a network.

    Args:
      name: Of the network. The bundled one has its own parameters, any other random ones.
      size: Height and width, pixels.
      quick: Shrink the picture to a longest side of 64: for trying out, not for measuring.
      remat: Recompute feature maps for the gradient.
    """
    if quick:
        shrink = QUICK_SIDE / max(size)
        size = (round(size[0] * shrink), round(size[1] * shrink))
    network: LossNetwork = jaxnst.load_network(name) if name == "vgg16-lite" else init_network(name)
    recipe = jaxnst.get_recipe("default")
    # Undivided, so that PyTorch's loss needs no target more; all terms count.
    recipe = replace(recipe, style=replace(recipe.style, weight=3.0, normalization="none"))
    objective = make_objective(recipe, network, remat=remat)
    params = objective.network.prepare(network.params)
    content, style, other = (_picture(seed, size) for seed in range(3))
    return Problem(
        case=f"{name} {size[1]}x{size[0]}",
        objective=objective,
        params=params,
        targets=_targets(objective, params, content, style),
        numbers=make_loss_weights(recipe),
        image=encode(jnp.asarray((content + other) / 2), objective.space),
    )


@partial(jax.jit, static_argnums=0)
def value_and_grad(
    objective: Objective, image: jax.Array, params: Params, targets: Targets, numbers: LossWeights
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """Evaluate loss and gradient once, outside any loop."""
    return jax.value_and_grad(objective, has_aux=True)(image, params, targets, numbers)


@partial(jax.jit, static_argnums=0)
def _targets(
    objective: Objective, params: Params, content: np.ndarray, style: np.ndarray
) -> Targets:
    styles = style_targets(objective, [style_summaries(objective, params, style)])
    return Targets(content_targets(objective, params, content), styles)


def _picture(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Make a picture with large forms and fine noise, and no two pixels alike."""
    rng = np.random.default_rng(seed)
    forms = jaxnst.resize(rng.uniform(0.2, 0.8, (8, 8, 3)).astype(np.float32), size)
    return 0.7 * np.clip(forms, 0, 1) + 0.3 * rng.uniform(0, 1, (*size, 3)).astype(np.float32)

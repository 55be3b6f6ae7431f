"""The loss that a transformation network is trained with: that of the optimization, for a batch.

Johnson et al. 2016 (section 3.2) train with the loss by which Gatys et al. 2016 optimize an image:
content against the network's input, style against one painting. Here it is the same function,
:class:`~jaxnst.losses.objective.Objective`, so every recipe can be trained with, and the losses of
both methods can be compared. As theirs, it is a mean over the batch.

One more term penalizes the grid that such a network leaves in its output: dots as far apart as the
positions of its smallest feature map (:func:`grid_loss`).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnst._checks import not_negative
from jaxnst._numerics import default_numerics
from jaxnst._types import Image, Scalar
from jaxnst.image import fit, resample
from jaxnst.image.color import Pixels
from jaxnst.losses.objective import (
    TERMS,
    LossWeights,
    Objective,
    Targets,
    content_targets,
    make_loss_weights,
    make_objective,
)
from jaxnst.networks.color_space import encode
from jaxnst.networks.registry import LossNetwork, Params
from jaxnst.networks.rescale import unit_means
from jaxnst.recipes.schema import Recipe
from jaxnst.transfer.style_cache import StyleImage, mixed_styles, style_weights, summaries_of


class Frozen(NamedTuple):
    """What the loss depends on and training does not change; all of it is traced.

    Attributes:
      network: The loss network's parameters.
      style: Prepared statistics by layer, as in :class:`~jaxnst.losses.objective.Targets`.
      numbers: Weights of the terms.
      grid: Weight of the loss of :func:`grid_loss`.
    """

    network: Any
    style: dict[str, tuple[Any, ...]]
    numbers: LossWeights
    grid: Scalar


@dataclass(frozen=True)
class PerceptualLoss:
    """The loss of a network's outputs for a batch of pictures, as a hashable function.

    Attributes:
      module: The network that is trained, from RGB in [0, 1] to the same.
      objective: What the loss computes.
      period: Of the grid that is penalized, pixels.
    """

    module: nn.Module
    objective: Objective
    period: int = 1

    def __call__(
        self, params: Params, frozen: Frozen, images: Float[Array, "batch h w 3"]
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Compute the mean loss.

        Args:
          params: Of the network that is trained.
          frozen: What else the loss depends on.
          images: RGB in [0, 1].

        Returns:
          The total, and its weighted terms by name.
        """
        outputs: Array = self.module.apply({"params": params}, images)  # type: ignore[assignment]

        def one(content: Image, output: Image) -> Float[Array, " terms"]:
            content_target = content_targets(self.objective, frozen.network, content)
            targets = Targets(jax.lax.stop_gradient(content_target), frozen.style)
            variable = encode(output, self.objective.space)
            return self.objective(variable, frozen.network, targets, frozen.numbers)[1]

        values = jnp.mean(jax.vmap(one)(images, outputs), axis=0)
        terms = dict(zip(TERMS, values, strict=True))
        grid = jax.vmap(partial(grid_loss, period=self.period))(outputs)
        terms["grid"] = frozen.grid * jnp.mean(grid)
        return terms.pop("total") + terms["grid"], terms


def grid_loss(image: Image, *, period: int) -> Scalar:
    """Measure what an image repeats in every cell of a grid.

    The image is divided into cells of ``period`` by ``period`` pixels, which are averaged: the loss
    is the variance of the average cell. It is close to 0 for a photograph, but not for the output
    of a network that up-samples in steps.

    Args:
      image: ``(H, W, 3)``, sides of at least ``period``.
      period: Side of a cell, pixels. With 1 the loss is 0.

    Returns:
      Mean over the pixels of the average cell, and over channels, of the squared deviation from the
      cell's mean color.
    """
    rows, columns = (side // period for side in image.shape[:2])
    whole = image[: rows * period, : columns * period]
    cell = whole.reshape(rows, period, columns, period, -1).mean((0, 2), dtype=jnp.float32)
    return jnp.mean(jnp.square(cell - cell.mean((0, 1), keepdims=True)))


@default_numerics()
def make_loss(
    module: nn.Module,
    recipe: Recipe,
    network: LossNetwork,
    style: Pixels,
    *,
    style_size: int,
    grid: float = 0.0,
    period: int = 1,
) -> tuple[PerceptualLoss, Frozen]:
    """Make the loss by which a network learns one style.

    Args:
      module: The network.
      recipe: Layers, statistic, distance and weights; its scales, solver and colors are not used.
      network: The loss network.
      style: ``(H, W, 3)`` RGB in [0, 1], or with a fourth channel, which weights the pixels.
      style_size: Its longest side, pixels; a style is never enlarged.
      grid: Weight of :func:`grid_loss`.
      period: Of that grid, pixels: ``module.stride`` as a rule.

    Returns:
      The loss, and its second argument.

    Raises:
      KeyError: If the loss network has no such layer.
      ValueError: If the style is too small for a layer, or statistic and distance do not go
        together, or the weight is below 0.
    """
    not_negative("grid weight", grid)
    objective = make_objective(recipe, network)
    size = fit(style.shape[:2], min(style_size, max(style.shape[:2])))
    painting = StyleImage(style)
    image = jnp.asarray(resample(painting.image, size))
    rescaled = recipe.unit_means and not objective.network.unit_means
    params = unit_means(objective.network, [image]) if rescaled else objective.network.params
    params = objective.network.prepare(params)
    weights = style_weights(objective, painting, size)
    summaries = summaries_of(objective, params, image, weights)
    equal = jnp.ones((len(objective.style_layers), 1, 1))
    targets = mixed_styles(objective, [summaries], equal)
    frozen = Frozen(params, targets, make_loss_weights(recipe), jnp.asarray(grid, float))
    return PerceptualLoss(module, objective, period), frozen

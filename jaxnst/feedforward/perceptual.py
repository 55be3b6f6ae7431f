"""The loss that a transformation network is trained with: that of the optimization, for a batch.

Johnson et al. 2016 (section 3.2) train with the loss by which Gatys et al. 2016 optimize an image:
content against the network's input, style against one painting, averaged over the batch. Both
methods use :class:`~jaxnst.losses.objective.Objective`, so every recipe can be trained with. Only
the division of the style term by that of the content (``Style.normalization``) is left out.

An additional term penalizes the grid that such a network leaves in its output: dots whose distance
is the stride of its lowest resolution (:func:`grid_loss`).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnst._checks import not_negative
from jaxnst._numerics import default_numerics
from jaxnst._types import Image, Scalar
from jaxnst.feedforward.transformer import TransformationNetwork
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
    """The constants of the loss; all are traced.

    Attributes:
      network: Parameters of the loss network.
      style: Prepared statistics by layer, as in :class:`~jaxnst.losses.objective.Targets`.
      numbers: Weights of the terms.
      grid: Weight of :func:`grid_loss`.
    """

    network: Any
    style: dict[str, tuple[Any, ...]]
    numbers: LossWeights
    grid: Scalar


@dataclass(frozen=True)
class PerceptualLoss:
    """The loss of a network's outputs for a batch of images, as a hashable function.

    Attributes:
      module: The network that is trained; maps RGB in [0, 1] to RGB in [0, 1].
      objective: The loss of a single image.
    """

    module: TransformationNetwork
    objective: Objective

    def __call__(
        self, params: Params, frozen: Frozen, images: Float[Array, "batch h w 3"]
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Compute the mean loss of images, RGB in [0, 1], and its weighted terms by name."""
        outputs: Array = self.module.apply({"params": params}, images)  # type: ignore[assignment]

        def one(content: Image, output: Image) -> Float[Array, " terms"]:
            content_target = content_targets(self.objective, frozen.network, content)
            # The style term is not divided: single crops are at very different distances from it.
            targets = Targets(jax.lax.stop_gradient(content_target), frozen.style)
            variable = encode(output, self.objective.space)
            return self.objective(variable, frozen.network, targets, frozen.numbers)[1]

        values = jnp.mean(jax.vmap(one)(images, outputs), axis=0)
        terms = dict(zip(TERMS, values, strict=True))
        grid = jax.vmap(partial(grid_loss, period=self.module.stride))(outputs)
        terms["grid"] = frozen.grid * jnp.mean(grid)
        return terms.pop("total") + terms["grid"], terms


def grid_loss(image: Image, *, period: int) -> Scalar:
    """Measure the pattern that an image repeats in every cell of a grid.

    The image is divided into cells of ``period`` by ``period`` pixels, which are averaged: the loss
    is the variance of the average cell. It is close to 0 for a photograph, but not for the output
    of a network that enlarges its feature maps in steps.

    Args:
      image: ``(H, W, 3)``, with sides of at least ``period``.
      period: Side of a cell, pixels. With 1 the loss is 0.

    Returns:
      The squared deviation of the average cell from its mean color, averaged over pixels and
      channels.
    """
    rows, columns = (side // period for side in image.shape[:2])
    cropped = image[: rows * period, : columns * period]
    cell = cropped.reshape(rows, period, columns, period, -1).mean((0, 2), dtype=jnp.float32)
    return jnp.mean(jnp.square(cell - cell.mean((0, 1), keepdims=True)))


@default_numerics()
def make_loss(
    module: TransformationNetwork,
    recipe: Recipe,
    network: LossNetwork,
    style: Pixels,
    *,
    style_size: int,
    grid: float = 0.0,
) -> tuple[PerceptualLoss, Frozen]:
    """Make the loss for training a network on one style.

    Args:
      module: The network.
      recipe: Layers, statistic, distance and weights; its scales, solver and colors are not used.
      network: The loss network.
      style: ``(H, W, 3)`` RGB in [0, 1], or ``(H, W, 4)`` with an opacity that weights the pixels.
      style_size: Longest side to which the style is reduced, pixels; it is never enlarged.
      grid: Weight of :func:`grid_loss` with the period of the network's stride.

    Returns:
      The loss, and its second argument.

    Raises:
      KeyError: The loss network has no layer of a name.
      ValueError: The style is too small for a layer, statistic and distance cannot be combined, or
        the weight is below 0.
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
    summaries = summaries_of(objective, params, image, weights=weights)
    equal = jnp.ones((len(objective.style_layers), 1, 1))
    targets = mixed_styles(objective, [summaries], mixture=equal)
    frozen = Frozen(params, targets, make_loss_weights(recipe), jnp.asarray(grid, float))
    return PerceptualLoss(module, objective), frozen

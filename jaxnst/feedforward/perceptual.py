"""The loss that a transformation network is trained with: that of the optimising path, for a batch.

Johnson et al. 2016 (section 3.2) train with the loss that Gatys et al. 2016 optimise a picture by:
content against the picture that went in, style against one painting. Here it is the very same
function, :class:`~jaxnst.losses.objective.Objective`, so that whatever a recipe can say can be
trained with, and losses of both ways compare. Theirs is a mean over the batch, as is this one.

A term of its own is against the grid that such a network weaves into what it paints: dots as far
apart as the positions of its smallest map (:func:`grid_loss`).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnst._checks import not_negative
from jaxnst._numerics import own_numerics
from jaxnst._types import Image, Scalar
from jaxnst.image import fit, resample
from jaxnst.image.color import Pixels
from jaxnst.losses.objective import (
    TERMS,
    Numbers,
    Objective,
    Targets,
    content_targets,
    make_numbers,
    make_objective,
)
from jaxnst.networks.color_space import encode
from jaxnst.networks.registry import LossNetwork, Params
from jaxnst.networks.rescale import unit_means
from jaxnst.recipes.schema import Recipe
from jaxnst.transfer.style_cache import StyleImage, mixed_styles, style_weights, summaries_of


class Frozen(NamedTuple):
    """What a network is trained with and does not change; all of it is traced.

    Attributes:
      network: The loss network's parameters.
      style: Prepared statistics by layer, as in :class:`~jaxnst.losses.objective.Targets`.
      numbers: Weights of the terms.
      grid: Weight of the loss of :func:`grid_loss`.
    """

    network: Any
    style: dict[str, tuple[Any, ...]]
    numbers: Numbers
    grid: Scalar


@dataclass(frozen=True)
class PerceptualLoss:
    """The loss of what a network makes of a batch of pictures, as a hashable function.

    Attributes:
      module: The network that is trained, from RGB in [0, 1] to the same.
      objective: What the loss computes.
      period: Of the grid that is to be avoided, pixels.
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
          frozen: Whatever else it depends on.
          images: RGB in [0, 1].

        Returns:
          The total, and by name its terms with their weights.
        """
        painted: Array = self.module.apply({"params": params}, images)  # type: ignore[assignment]

        grid = partial(grid_loss, period=self.period)

        def one(content: Image, painted: Image) -> Float[Array, " terms"]:
            aims = content_targets(self.objective, frozen.network, content)
            targets = Targets(jax.lax.stop_gradient(aims), frozen.style)
            variable = encode(painted, self.objective.space)
            return self.objective(variable, frozen.network, targets, frozen.numbers)[1]

        terms = jnp.mean(jax.vmap(one)(images, painted), axis=0)
        found = dict(zip(TERMS, terms, strict=True))
        found["grid"] = frozen.grid * jnp.mean(jax.vmap(grid)(painted))
        return found.pop("total") + found["grid"], found


def grid_loss(image: Image, *, period: int) -> Scalar:
    """Measure what an image repeats in every cell of a grid.

    The image is divided into cells of ``period`` by ``period`` pixels, and averaged over them: the
    loss is the variance of that average cell. Of a picture it is next to nothing; of what a
    network paints that up-samples in steps it need not be.

    Args:
      image: ``(H, W, 3)``, sides of at least ``period``.
      period: Side of a cell, pixels. With 1 the loss is 0.

    Returns:
      Mean over the pixels of the average cell, and over channels, of the squared deviation from the
      cell's mean colour.
    """
    rows, columns = (side // period for side in image.shape[:2])
    whole = image[: rows * period, : columns * period]
    cell = whole.reshape(rows, period, columns, period, -1).mean((0, 2), dtype=jnp.float32)
    return jnp.mean(jnp.square(cell - cell.mean((0, 1), keepdims=True)))


@own_numerics()
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
      recipe: Layers, statistic, distance and weights; of its scales, solver and colours nothing
        is used.
      network: The loss network.
      style: ``(H, W, 3)`` RGB in [0, 1], or with a fourth channel, which says what counts.
      style_size: Its longest side, pixels; a style is never enlarged.
      grid: Weight of :func:`grid_loss`.
      period: Of that grid, pixels: ``module.stride`` as a rule.

    Returns:
      The loss, and what it is given beside parameters and pictures.

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
    params = _tuned(objective.network, recipe, image)
    weights = style_weights(objective, painting, size)
    summaries = summaries_of(objective, params, image, weights)
    whole = jnp.ones((len(objective.style_layers), 1, 1))
    targets = mixed_styles(objective, [summaries], whole)
    frozen = Frozen(params, targets, make_numbers(recipe), jnp.asarray(grid, float))
    return PerceptualLoss(module, objective, period), frozen


def _tuned(network: LossNetwork, recipe: Recipe, image: Image) -> Params:
    """Bring the loss network to the strength that the recipe's weights are for."""
    rescaled = recipe.unit_means and not network.unit_means
    return network.prepare(unit_means(network, [image]) if rescaled else network.params)

"""The objective: a pure function from an image to a loss and its named terms.

What does not change during a run is computed once as :class:`Targets`. An :class:`Objective` says
what is computed and is static under ``jax.jit``; :class:`Numbers` holds every weight and is
traced, so that changing one never compiles anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxnst._types import FeatureMap, Features, Image, Scalar
from jaxnst.config import (
    Normalization,
    Recipe,
    Space,
    TotalVariationKind,
)
from jaxnst.distances import Extent, get_distance
from jaxnst.losses import (
    STATISTICS,
    Moments,
    content_loss,
    mix_moments,
    moments,
    total_variation,
)
from jaxnst.networks.recompute import look_in_blocks
from jaxnst.networks.registry import LossNetwork, Params
from jaxnst.space import decode

TERMS = ("total", "content", "style", "tv")
"""Names of the loss and its terms; the terms carry their weights, so they sum to the total."""


@dataclass(frozen=True)
class Objective:
    """The loss of an image as a hashable function: all of a recipe and network but the numbers.

    Two of them are equal when they compute the same, whatever the parameters of the network, so
    a compiled loop over one serves the other.

    Attributes:
      remat: Whether the gradient computes the feature maps of each block of the network anew, for
        less memory.
    """

    network: LossNetwork
    space: Space
    content_layers: tuple[str, ...]
    content_normalization: Normalization
    style_layers: tuple[str, ...]
    statistic: str
    distance: str
    tv_kind: TotalVariationKind
    remat: bool = False

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer that the loss looks at, once."""
        return tuple(dict.fromkeys((*self.content_layers, *self.style_layers)))

    def __call__(
        self, variable: Image, params: Params, targets: "Targets", numbers: "Numbers"
    ) -> tuple[Scalar, Float[Array, " terms"]]:
        """Compute the loss of an image.

        Args:
          variable: The image, in the objective's space.
          params: The loss network's parameters.
          targets: What it is compared with.
          numbers: Weights of the terms.

        Returns:
          The total, and the array of :data:`TERMS`.
        """
        aims = {n: (targets.content.get(n), targets.style.get(n)) for n in self.layers}
        see = partial(self._compare, variable.shape[0] * variable.shape[1])
        image = decode(variable, self.space)
        if self.remat:
            seen = look_in_blocks(self.network, params, image, see, aims)
        else:
            features = self.network.features(params, image, self.layers)
            seen = {name: see(name, features[name], aim) for name, aim in aims.items()}
        content = [seen[name][0] for name in self.content_layers]
        style = [seen[name][1] for name in self.style_layers]
        tv = total_variation(variable, kind=self.tv_kind, chroma=numbers.tv_chroma)
        terms = jnp.stack(
            [
                _weighted(numbers.content, content),
                _weighted(numbers.style, style),
                numbers.tv * tv,
            ]
        )
        total = terms.sum()
        return total, jnp.concatenate([total[None], terms])

    def _compare(
        self, pixels: int, layer: str, features: FeatureMap, aim: tuple[Any, Any]
    ) -> tuple[Scalar | None, Scalar | None]:
        """Compare a layer's feature map with the content's and with the style, where it counts."""
        content = style = None
        if layer in self.content_layers:
            content = content_loss(features, aim[0], normalization=self.content_normalization)
        if layer in self.style_layers:
            statistic = STATISTICS[self.statistic](
                moments(features, precision=self.network.precision)
            )
            extent = Extent(features.shape[0] * features.shape[1], pixels)
            style = get_distance(self.distance).compare(statistic, aim[1], extent)
        return content, style


def _weighted(weights: Float[Array, " layers"], losses: list[Scalar]) -> Scalar:
    if not losses:
        return jnp.zeros(())
    return jnp.matmul(weights, jnp.stack(losses), precision=lax.Precision.HIGHEST)


class Numbers(NamedTuple):
    """The numbers of the loss. Layer weights are in the order of the objective's layers."""

    content: Float[Array, " layers"]
    style: Float[Array, " layers"]
    tv: Scalar
    tv_chroma: Scalar


class Targets(NamedTuple):
    """What the image is compared with: content features and prepared style statistics by layer."""

    content: Features
    style: dict[str, Any]


def make_objective(recipe: Recipe, network: LossNetwork, *, remat: bool = False) -> Objective:
    """Take from a recipe what its loss computes.

    Args:
      recipe: The method.
      network: Its loss network.
      remat: Whether to spend time in place of memory; the loss is the same.

    Raises:
      KeyError: If the network has no such layer.
      ValueError: If there is no such statistic or distance.
    """
    if recipe.style.statistic not in STATISTICS:
        known = ", ".join(STATISTICS)
        raise ValueError(f"unknown style statistic {recipe.style.statistic!r}: known are {known}")
    get_distance(recipe.style.distance)
    content = tuple(network.resolve(name) for name, _ in recipe.content.layers)
    style = tuple(network.resolve(name) for name, _ in recipe.style.layers)
    return Objective(
        network=network.configure(
            pooling=recipe.pooling,
            padding=recipe.padding,
            first_padding=recipe.first_padding,
            preprocessing=recipe.preprocessing,
        ),
        space=recipe.space,
        content_layers=content,
        content_normalization=recipe.content.normalization,
        style_layers=style,
        statistic=recipe.style.statistic,
        distance=recipe.style.distance,
        tv_kind=recipe.tv.kind,
        remat=remat,
    )


def make_numbers(recipe: Recipe) -> Numbers:
    """Take from a recipe the numbers of its loss."""
    content = [recipe.content.weight * weight for _, weight in recipe.content.layers]
    style = [recipe.style.weight * weight for _, weight in recipe.style.layers]
    return Numbers(
        content=jnp.asarray(content, float),
        style=jnp.asarray(style, float),
        tv=jnp.asarray(recipe.tv.weight, float),
        tv_chroma=jnp.asarray(recipe.tv.chroma, float),
    )


def content_targets(objective: Objective, params: Params, content: Image) -> Features:
    """Compute the features that the content term aims at; ``content`` is RGB in [0, 1]."""
    return objective.network.features(params, content, objective.content_layers)


def style_moments(objective: Objective, params: Params, style: Image) -> dict[str, Moments]:
    """Compute one style image's moments by layer; ``style`` is RGB in [0, 1]."""
    features = objective.network.features(params, style, objective.style_layers)
    precision = objective.network.precision
    return {name: moments(f, precision=precision) for name, f in features.items()}


def style_targets(
    objective: Objective,
    styles: Sequence[dict[str, Moments]],
    *,
    weights: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Mix the moments of all styles, form the statistics, and prepare what they are compared by."""
    statistic, distance = STATISTICS[objective.statistic], get_distance(objective.distance)
    return {
        name: distance.prepare(statistic(mix_moments([s[name] for s in styles], weights=weights)))
        for name in objective.style_layers
    }

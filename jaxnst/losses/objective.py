"""The objective: a pure function from an image to a loss and its named terms.

What does not change during a run is computed once as :class:`Targets`. An :class:`Objective`
defines the computation and is static under ``jax.jit``; :class:`LossWeights` holds every weight and
is traced, so that changing one compiles nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jaxnst._numerics import default_numerics
from jaxnst._types import FeatureMap, Features, Image, PositionWeights, Scalar
from jaxnst.losses.distances import Distance, Extent, get_distance
from jaxnst.losses.neighbors import (
    LIBRARY,
    REDUCTION,
    ColumnTargets,
    LayerTargets,
    column_loss,
    column_part,
    layer_loss,
    library_sample,
    nearest,
    sample_positions,
    unit,
)
from jaxnst.losses.statistics import STATISTICS, Statistic, get_statistic, mix
from jaxnst.losses.terms import ContentSums, content_sums, normalized_content_loss, total_variation
from jaxnst.networks.color_space import decode
from jaxnst.networks.registry import LossNetwork, Params
from jaxnst.networks.remat import LayerFunction, map_with_remat
from jaxnst.networks.tiles import Positions, Tiling, features_in_tiles, make_tiling, sum_over_tiles
from jaxnst.recipes.schema import (
    LayerNames,
    Normalization,
    Recipe,
    Space,
    StyleNormalization,
    TotalVariationKind,
)

TERMS = ("total", "content", "style", "tv")
"""Names of the loss and its terms; the terms carry their weights, so they sum to the total."""


LEAST_DISTANCE = 1e-6
"""Lower bound on the photograph's distance from the style, to avoid dividing by 0."""


@dataclass(frozen=True)
class Objective:
    """The loss of an image as a hashable function: everything static about a recipe and a network.

    Two of them are equal when they compute the same thing, whatever the network's parameters, so
    that they share compiled loops.

    Attributes:
      statistics: Of each style layer.
      distances: Of each style layer.
      remat: Whether the gradient recomputes the feature maps of each block of the network, to save
        memory.
      tile: Longest side of the tiles in which images are processed, pixels; None: whole.
      devices: Of one kind, to share the tiles; with fewer than two, JAX's default one.
    """

    network: LossNetwork
    space: Space
    content_layers: tuple[str, ...]
    content_normalization: Normalization
    style_layers: tuple[str, ...]
    style_normalization: StyleNormalization
    statistics: tuple[Statistic, ...]
    distances: tuple[Distance, ...]
    tv_kind: TotalVariationKind
    remat: bool = False
    tile: int | None = None
    devices: tuple[jax.Device, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer that the loss looks at, once."""
        return tuple(dict.fromkeys((*self.content_layers, *self.style_layers)))

    @property
    def by_neighbors(self) -> bool:
        """Whether the loss is that of nearest neighbors, which takes other samples every step."""
        return STATISTICS["neighbors"] in self.statistics

    def __call__(
        self,
        variable: Image,
        params: Params,
        targets: "AnyTargets",
        numbers: "LossWeights",
        step: Int[Array, ""] | int = 0,
    ) -> tuple[Scalar, Float[Array, " terms"]]:
        """Compute the loss of an image.

        Args:
          variable: The image, in the objective's space.
          params: The loss network's parameters.
          targets: What it is compared with.
          numbers: Weights of the terms.
          step: How many evaluations there were; decides the samples of nearest neighbors.

        Returns:
          The total, and the array of :data:`TERMS`.
        """
        where = targets.where if isinstance(targets, Targets) else EVERYWHERE
        if where.free is not None:
            variable = jnp.where(where.free[..., None] > 0, variable, where.still)
        image = decode(variable, self.space)
        if isinstance(targets, Targets):
            content, style = self.distances_from(targets, params, image, numbers)
        else:
            content = jnp.zeros(())
            style = self.neighbor_loss(params, image, targets, numbers, step)
        tv = total_variation(
            variable, kind=self.tv_kind, chroma=numbers.tv_chroma, inside=where.free
        )
        terms = jnp.stack([content, style, numbers.tv * tv])
        total = terms.sum()
        return total, jnp.concatenate([total[None], terms])

    def distances_from(
        self, targets: "Targets", params: Params, image: Image, numbers: "LossWeights"
    ) -> tuple[Scalar, Scalar]:
        """Return the content term and the style term of an image; RGB in [0, 1]."""
        sums = self.sums(params, image, targets.positions(self.layers))
        content = [
            normalized_content_loss(part, self.content_normalization, targets.content[name].size)
            for name in self.content_layers
            if (part := sums[name].content) is not None
        ]
        style = self.style_distances(targets, sums, image.shape[:2])
        return (
            _weighted(numbers.content, content),
            _weighted(numbers.style, style) / targets.style_unit,
        )

    def sums(
        self, params: Params, image: Image, positions: Mapping[str, Positions]
    ) -> dict[str, "LayerSums"]:
        """Compute the sums of each layer that the loss needs, for a whole image or tile by tile.

        Args:
          params: The network's parameters.
          image: RGB in [0, 1].
          positions: By layer; the layers to look at.
        """
        tiling = self.tiling(tuple(positions), image.shape[:2])
        if tiling is None:
            return self._sums_of_one(params, image, positions)
        return sum_over_tiles(self._sums_of_one, tiling, params, image, positions)

    def _sums_of_one(
        self, params: Params, image: Image, positions: Mapping[str, Positions]
    ) -> dict[str, "LayerSums"]:
        """Compute the sums for an image, or for one tile of it, in a single pass."""
        return self.each_layer(params, image, self.summarize, positions)

    def each_layer(
        self, params: Params, image: Image, function: LayerFunction, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return ``function(layer, feature map, value)`` by layer, for layers with their values."""
        if self.remat:
            return map_with_remat(self.network, params, image, function, values)
        features = self.network.features(params, image, tuple(values))
        return {name: function(name, features[name], value) for name, value in values.items()}

    def columns(self, params: Params, image: Image, numbers: "LossWeights") -> FeatureMap:
        """Compute the hypercolumns of an image, RGB in [0, 1]: ``(H // 4, W // 4, C)``.

        The vectors of all style layers, brought to one size, divided by the layer's number of
        channels and multiplied by its relative weight.
        """
        height, width, _ = image.shape
        part = partial(_column_part, (height, width))
        weights = numbers.style / jnp.mean(numbers.style)
        parts = self.each_layer(
            params, image, part, dict(zip(self.style_layers, weights, strict=True))
        )
        return jnp.concatenate([parts[name] for name in self.style_layers], axis=-1)

    def neighbor_loss(
        self,
        params: Params,
        image: Image,
        targets: ColumnTargets | LayerTargets,
        numbers: "LossWeights",
        step: Int[Array, ""] | int,
    ) -> Scalar:
        """Return an image's mean cosine distance from its neighbors; RGB in [0, 1]."""
        if isinstance(targets, ColumnTargets):
            return column_loss(self.columns(params, image, numbers), targets)
        key = jax.random.fold_in(jax.random.key(targets.seed), step)
        keys = dict(zip(self.style_layers, jax.random.split(key, len(numbers.style)), strict=True))
        samples = self.each_layer(params, image, _sample, keys)
        distances = [
            layer_loss(
                keys[name], samples[name], targets.library[name], precision=self.network.precision
            )
            for name in self.style_layers
        ]
        return _weighted(numbers.style / jnp.sum(numbers.style), distances)

    def tiling(self, layers: tuple[str, ...], size: tuple[int, ...]) -> Tiling | None:
        """Lay out tiles for layers of images of some size; None: they are processed whole."""
        if self.tile is None or not layers:
            return None
        return make_tiling(self.network, layers, size, self.tile, devices=self.devices)

    def summarize(self, layer: str, features: FeatureMap, positions: Positions) -> "LayerSums":
        """Take from a feature map, or a tile of it, what the loss needs."""
        of_content, of_regions = positions.weights
        content, style = None, list[Any]()
        if positions.values is not None:
            content = content_sums(features, positions.values, weights=of_content)
        if layer in self.style_layers:
            statistic = self.statistics[self.style_layers.index(layer)]
            precision = self.network.precision
            style = [statistic.summarize(features, weights, precision) for weights in of_regions]
        return LayerSums(content, tuple(style))

    def style_distances(
        self, targets: "Targets", sums: Mapping[str, "LayerSums"], size: tuple[int, ...]
    ) -> list[Scalar]:
        """Compare the sums of an image of some height and width with the styles, by layer."""
        sizes, shares = self.network.map_sizes(size, self.style_layers), targets.where.shares
        distances = []
        for i, name in enumerate(self.style_layers):
            statistic, distance = self.statistics[i], self.distances[i]
            extent = Extent(math.prod(sizes[name]), math.prod(size))
            of_regions = [
                distance.compare(statistic.form(summary), target, extent)
                for summary, target in zip(sums[name].style, targets.style[name], strict=True)
            ]
            distances.append(of_regions[0] if shares is None else _weighted(shares, of_regions))
        return distances


def _column_part(
    size: tuple[int, int], layer: str, features: FeatureMap, weight: Scalar
) -> FeatureMap:
    return weight * column_part(features, size).astype(jnp.float32)


def _sample(layer: str, features: FeatureMap, key: Array) -> Array:
    return sample_positions(key, features)


class LayerSums(NamedTuple):
    """The sums over one layer's feature map from which the loss is computed.

    Attributes:
      content: Sums for the content term; None if this is not a content layer.
      style: Summaries of the style statistic, one for each region; empty if this is not a style
        layer.
    """

    content: ContentSums | None
    style: tuple[Any, ...]


def _weighted(weights: Float[Array, " layers"], losses: list[Scalar]) -> Scalar:
    if not losses:
        return jnp.zeros(())
    return jnp.matmul(weights, jnp.stack(losses), precision=lax.Precision.HIGHEST)


class LossWeights(NamedTuple):
    """The numbers of the loss. Layer weights are in the order of the objective's layers."""

    content: Float[Array, " layers"]
    style: Float[Array, " layers"]
    tv: Scalar
    tv_chroma: Scalar


class SpatialGuidance(NamedTuple):
    """Which part of the picture each style is for, and which part may change.

    Attributes:
      content: Weights of the positions of content layers, ``(H, W)`` by layer; empty: all count
        alike.
      style: Those of style layers for each of R regions, ``(R, H, W)``, each with sum 1; empty:
        there is one region, the whole picture.
      shares: How much each region counts, ``(R,)``; None: there is one region.
      free: 1 where a pixel may change, else 0, ``(H, W)``; None: all may.
      still: The picture, in the objective's space, where it may not change.
    """

    content: Mapping[str, Any]
    style: Mapping[str, Any]
    shares: Any
    free: Any
    still: Any


EVERYWHERE = SpatialGuidance({}, {}, None, None, None)


class Targets(NamedTuple):
    """What the image is compared with.

    Attributes:
      content: Features by layer.
      style: Prepared statistics by layer, one for each region.
      where: The regions.
      style_unit: What the style term is divided by.
    """

    content: Features
    style: Mapping[str, tuple[Any, ...]]
    where: SpatialGuidance = EVERYWHERE
    style_unit: Any = 1.0

    def positions(self, layers: Sequence[str]) -> dict[str, Positions]:
        """Return the content targets and the position weights of the given layers."""
        return {
            name: Positions(
                self.content.get(name),
                (self.where.content.get(name), tuple(self.where.style.get(name, (None,)))),
            )
            for name in layers
        }


AnyTargets: TypeAlias = Targets | ColumnTargets | LayerTargets


def make_objective(
    recipe: Recipe,
    network: LossNetwork,
    *,
    remat: bool = False,
    tile: int | None = None,
    devices: Sequence[jax.Device] = (),
) -> Objective:
    """Make the objective of a recipe on a network.

    Args:
      recipe: The method.
      network: Its loss network.
      remat: Whether to save memory at the cost of time; the loss is the same.
      tile: Longest side of the tiles in which images are processed, pixels; None: whole. The loss
        is the same.
      devices: Of one kind, to share the tiles; with fewer than two, JAX's default one.

    Raises:
      KeyError: If the network has no such layer.
      ValueError: If there is no such statistic or distance, or the two do not go together; or the
        tiles are too small, or a statistic is not a sum over positions.
    """
    # Nearest neighbors have no content term.
    content_layers = () if recipe.style.statistic == "neighbors" else recipe.content.layers
    content = tuple(network.resolve(name) for name, _ in content_layers)
    style = tuple(network.resolve(name) for name, _ in recipe.style.layers)
    statistics = _by_layer(network, style, recipe.style.statistic, recipe.style.statistics)
    distances = _by_layer(network, style, recipe.style.distance, recipe.style.distances)
    for layer, statistic, distance in zip(style, statistics, distances, strict=True):
        if get_distance(distance).only not in (None, statistic):
            raise ValueError(
                f"style distance {distance!r} compares {get_distance(distance).only} statistics, "
                f"but that of {layer} is {statistic!r}: change either"
            )
        if (statistic == "neighbors") != (recipe.style.statistic == "neighbors"):
            raise ValueError(
                f"style statistic of {layer} is {statistic!r} and that of the recipe "
                f"{recipe.style.statistic!r}, but 'neighbors' is for all layers or none: set "
                "style_statistic alone"
            )
        if tile is not None and not get_statistic(statistic).additive:
            sums = " or ".join(name for name, each in STATISTICS.items() if each.additive)
            raise ValueError(
                f"style statistic {statistic!r} of {layer} is not a sum over positions and cannot "
                f"be computed in tiles: set it to {sums}, or turn tiles off"
            )
    objective = Objective(
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
        style_normalization=recipe.style.normalization,
        statistics=tuple(map(get_statistic, statistics)),
        distances=tuple(map(get_distance, distances)),
        tv_kind=recipe.tv.kind,
        remat=remat,
        tile=tile,
        devices=tuple(devices),
    )
    if tile is not None and objective.layers:
        make_tiling(objective.network, objective.layers, (tile, tile), tile)  # refuses small tiles
    return objective


def _by_layer(
    network: LossNetwork, layers: tuple[str, ...], common: str, own: LayerNames
) -> list[str]:
    """Return a name for each layer: its own, or the common one."""
    names = {network.resolve(layer): name for layer, name in own}
    if unused := names.keys() - set(layers):
        raise ValueError(
            f"{sorted(unused)[0]} has a style statistic or distance of its own, but is none of the "
            f"style layers {', '.join(layers)}"
        )
    return [names.get(layer, common) for layer in layers]


@default_numerics()
def make_loss_weights(recipe: Recipe) -> LossWeights:
    """Collect the weights of a recipe's loss as arrays."""
    content = [recipe.content.weight * weight for _, weight in recipe.content.layers]
    style = [recipe.style.weight * weight for _, weight in recipe.style.layers]
    with np.errstate(over="ignore"):  # a product beyond float32 makes an infinite loss, an error
        return LossWeights(
            content=jnp.asarray(content, float),
            style=jnp.asarray(style, float),
            tv=jnp.asarray(recipe.tv.weight, float),
            tv_chroma=jnp.asarray(recipe.tv.chroma, float),
        )


def content_targets(objective: Objective, params: Params, content: Image) -> Features:
    """Compute the features that the content term aims at; ``content`` is RGB in [0, 1]."""
    tiling = objective.tiling(objective.content_layers, content.shape[:2])
    if tiling is not None:
        return features_in_tiles(tiling, params, content)
    return objective.network.features(params, content, objective.content_layers)


def make_targets(
    objective: Objective,
    params: Params,
    content: Image,
    style: Mapping[str, tuple[Any, ...]],
    numbers: LossWeights,
    *,
    where: SpatialGuidance = EVERYWHERE,
) -> Targets:
    """Compute the content's targets, and join them with those of the styles.

    Args:
      objective: What the loss computes.
      params: The network's parameters.
      content: RGB in [0, 1].
      style: From :func:`style_targets`.
      numbers: Weights of the terms; those of the style layers weigh its distance from the content.
      where: The regions.

    Returns:
      The targets, with the unit of the style term that ``objective.style_normalization`` asks for.
    """
    targets = Targets(content_targets(objective, params, content), style, where, jnp.ones(()))
    if objective.style_normalization == "none":
        return targets
    positions = targets._replace(content={}).positions(objective.style_layers)
    sums = objective.sums(params, content, positions)
    distances = objective.style_distances(targets, sums, content.shape[:2])
    total = numbers.style.sum()
    shares = numbers.style / jnp.where(total > 0, total, 1)
    return targets._replace(style_unit=jnp.maximum(_weighted(shares, distances), LEAST_DISTANCE))


def style_summaries(
    objective: Objective,
    params: Params,
    style: Image,
    *,
    weights: Mapping[str, PositionWeights] | None = None,
) -> dict[str, Any]:
    """Summarize one style image by layer.

    Args:
      objective: Says at which layers, and how.
      params: The network's parameters.
      style: RGB in [0, 1].
      weights: Of the positions of each layer, sum 1; None: all count alike.
    """
    positions = {
        name: Positions(None, (None, (None if weights is None else weights[name],)))
        for name in objective.style_layers
    }
    sums = objective.sums(params, style, positions)
    return {name: of_layer.style[0] for name, of_layer in sums.items()}


def style_targets(
    objective: Objective,
    styles: Sequence[dict[str, Any]],
    *,
    mixture: Float[Array, "layers regions styles"] | None = None,
) -> dict[str, tuple[Any, ...]]:
    """Mix the summaries of all styles, form the statistics, and prepare the targets from them.

    Args:
      objective: Says how.
      styles: From :func:`style_summaries`, one for each.
      mixture: How much of each style there is at each layer in each region, with any positive sum;
        None: one region, equal parts.

    Returns:
      Targets by layer, one for each region.
    """
    if mixture is None:
        mixture = jnp.ones((len(objective.style_layers), 1, len(styles)))
    mixture = mixture / jnp.sum(mixture, axis=-1, keepdims=True)
    targets = {}
    for i, name in enumerate(objective.style_layers):
        statistic, distance = objective.statistics[i], objective.distances[i]
        mixed = [mix([style[name] for style in styles], shares) for shares in mixture[i]]
        targets[name] = tuple(distance.prepare(statistic.form(summary)) for summary in mixed)
    return targets


@partial(jax.jit, static_argnums=0)
def style_columns(
    objective: Objective, params: Params, style: Image, numbers: LossWeights
) -> Float[Array, "n c"]:
    """Compute the hypercolumns of a style image, RGB in [0, 1], as rows, compiled."""
    columns = objective.columns(params, style, numbers)
    return columns.reshape(-1, columns.shape[-1])


@partial(jax.jit, static_argnums=0)
def match_columns(
    objective: Objective,
    params: Params,
    image: Image,
    styles: Sequence[Float[Array, "_ c"]],
    numbers: LossWeights,
) -> ColumnTargets:
    """Find a target for every hypercolumn of an image, RGB in [0, 1], compiled.

    ``styles`` are from :func:`style_columns`; the nearest are looked for in them.
    """
    columns = objective.columns(params, image, numbers)
    flat = columns.reshape(-1, columns.shape[-1])
    chosen = nearest(flat, styles, precision=objective.network.precision)
    return ColumnTargets(unit(chosen).reshape(columns.shape))


@partial(jax.jit, static_argnums=(1, 4))
def style_samples(
    key: Array, objective: Objective, params: Params, style: Image, count: int
) -> dict[str, Float[Array, "n _"]]:
    """Draw ``count`` feature vectors of a style image from each style layer, compiled."""
    features = objective.network.features(params, style, objective.style_layers)
    return {name: library_sample(key, value, count) for name, value in features.items()}


def neighbor_shapes(
    objective: Objective, size: tuple[int, int], *, by_layer: bool
) -> ColumnTargets | LayerTargets:
    """Return the shapes of the targets of nearest neighbors for an image of some size.

    They are those of :class:`LayerTargets` if ``by_layer``, else of :class:`ColumnTargets`.
    """
    shape: Any = jax.ShapeDtypeStruct
    table = objective.network.table
    channels = {name: table[name].channels for name in objective.style_layers}
    if by_layer:
        library = {name: shape((LIBRARY, width), jnp.float32) for name, width in channels.items()}
        return LayerTargets(library, shape((), jnp.uint32))
    height, width = (max(1, side // REDUCTION) for side in size)
    return ColumnTargets(shape((height, width, sum(channels.values())), jnp.float32))

"""Whitening and colouring, level by level: one pass from arrays to an array.

From the deepest level to the shallowest, the picture so far is encoded, its feature map is given
the styles' statistics, and decoded again (Li et al. 2017, section 3.3 and figure 1c). The next
level works on what came out. Everything here is pure; :mod:`jaxnst.feedforward.instant` prepares
the arguments.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnst._types import FeatureMap, Image, PositionWeights
from jaxnst.feedforward.decoders import Autoencoder
from jaxnst.feedforward.settings import Transform
from jaxnst.feedforward.transforms import Summary, style_root, to_style
from jaxnst.networks.registry import Params

Levels = tuple[Autoencoder, ...]
"""In the order in which they run."""

AllParams = tuple[tuple[Params, Params], ...]
"""Parameters of encoder and decoder, by level."""


class Regions(NamedTuple):
    """Where the styles go at one level.

    Attributes:
      share: How much of each position belongs to each region, ``(R, h, w)`` in [0, 1].
      weights: Of the positions in the statistics of each region, sums 1.
    """

    share: Float[Array, "r h w"]
    weights: Float[Array, "r h w"]


def summarize_style(
    levels: Levels,
    transform: Transform,
    params: AllParams,
    style: Image,
    weights: tuple[PositionWeights | None, ...],
) -> tuple[Summary, ...]:
    """Summarise a style at every level, compiled.

    Args:
      levels: Autoencoders. An encoder that several of them share looks at the style once.
      transform: Which transform it is for.
      params: Theirs.
      style: ``(H, W, 3)`` RGB in [0, 1].
      weights: Of the positions of each level's feature map, sum 1; None: all alike.
    """
    encoders = {id(encoder): encoder for encoder, _ in params}
    places = [list(encoders).index(id(encoder)) for encoder, _ in params]
    return _summaries(levels, tuple(places), transform, tuple(encoders.values()), style, weights)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _summaries(
    levels: Levels,
    places: tuple[int, ...],
    transform: Transform,
    encoders: tuple[Params, ...],
    style: Image,
    weights: tuple[PositionWeights | None, ...],
) -> tuple[Summary, ...]:
    features: dict[int, dict[str, FeatureMap]] = {}
    for place, params in enumerate(encoders):
        own = [level for level, of in zip(levels, places, strict=True) if of == place]
        layers = tuple(level.layer for level in own)
        features[place] = own[0].encoder.features(params, style, layers)
    return tuple(
        style_root(features[place][level.layer], transform, weights=of)
        for level, place, of in zip(levels, places, weights, strict=True)
    )


@partial(jax.jit, static_argnums=(0, 1))
def transfer(
    levels: Levels,
    transform: Transform,
    params: AllParams,
    contents: Float[Array, "b h w 3"],
    styles: tuple[Summary, ...],
    alpha: Float[Array, ""],
    regions: tuple[Regions | None, ...],
) -> Float[Array, "b h w 3"]:
    """Give pictures the styles' statistics at every level in turn, compiled.

    Args:
      levels: Autoencoders, in the order in which they run.
      transform: How statistics are matched.
      params: Of the autoencoders.
      contents: RGB in [0, 1]; sides are multiples of every level's stride.
      styles: For every level, the mixed styles of each region, stacked along a first axis.
      alpha: Share of the transformed feature maps in what is decoded, 0 to 1; the rest is the
        content's (Li et al. 2017, eq. 4).
      regions: By level, those of each picture along a first axis; None: one, everywhere.

    Returns:
      RGB in [0, 1].
    """

    def one(content: Image, regions: tuple[Regions | None, ...]) -> Image:
        image = content
        for level, of_level, style, region in zip(levels, params, styles, regions, strict=True):
            encoder, decoder = of_level
            features = level.encode(encoder, image)
            image = level.decode(decoder, _moved(features, style, transform, alpha, region))
            image = jnp.clip(image, 0, 1)
        return image

    if len(contents) == 1:  # without a batch axis XLA transposes no feature maps
        alone: tuple[Regions | None, ...] = jax.tree.map(lambda leaf: leaf[0], regions)
        return one(contents[0], alone)[None]
    return jax.vmap(one)(contents, regions)


def _moved(
    features: FeatureMap,
    styles: Summary,
    transform: Transform,
    alpha: Float[Array, ""],
    regions: Regions | None,
) -> FeatureMap:
    """Transform every region by its own statistics; where there is none, nothing changes."""
    if regions is None:
        style: Summary = jax.tree.map(lambda leaf: leaf[0], styles)
        return to_style(features, style, transform).blended(alpha)(features)

    def change(style: Summary, share: Array, weights: Array) -> FeatureMap:
        toward = to_style(features, style, transform, weights=weights).blended(alpha)
        return share[..., None] * (toward(features) - features)

    several = jax.vmap(change)(styles, regions.share, regions.weights)
    return features + jnp.sum(several, axis=0)

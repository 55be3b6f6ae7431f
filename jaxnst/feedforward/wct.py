"""Whitening and coloring: give a feature map the statistics of another, level by level.

From the deepest level to the shallowest, the image is encoded, its feature map is given the styles'
statistics by an affine map of its feature vectors, and decoded again (Li et al. 2017, section 3.3
and figure 1c). The next level works on the result. Feature vectors are rows ``x``, mapped to
``x @ matrix + offset``. Covariances are divided by N, and positions may be weighted. Everything
here is pure; :mod:`jaxnst.feedforward.instant` prepares the arguments.

References:
  Li, Fang, Yang, Wang, Lu, Yang: Universal Style Transfer via Feature Transforms. NIPS 2017.
  Huang, Belongie: Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization.
    ICCV 2017.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxnst._types import FeatureMap, Image, PositionWeights
from jaxnst.feedforward.decoders import Autoencoder
from jaxnst.feedforward.settings import Transform
from jaxnst.networks.registry import Params

LEAST_SHARE = 1e-5
"""Eigenvalues below this share of the greatest are left out, as float32 cannot resolve them. Li et
al.'s program leaves out those below 1e-5, for feature maps of another scale."""

LEAST_VARIANCE = 1e-5
"""Added to variances (Huang and Belongie's program)."""

Levels = tuple[Autoencoder, ...]
"""Levels in the order in which they run."""

AllParams = tuple[tuple[Params, Params], ...]
"""Parameters of encoder and decoder for each level."""


class Summary(NamedTuple):
    """A style's mean, and the matrix by which whitened feature vectors are multiplied.

    Styles are mixed by averaging their summaries, which averages the transformed feature vectors.
    """

    mean: Float[Array, "*r c"]
    root: Float[Array, "*r c c"]


class Affine(NamedTuple):
    """An affine map of feature vectors, as rows: ``x @ matrix + offset``."""

    matrix: Float[Array, "c c"]
    offset: Float[Array, " c"]

    def blended(self, alpha: Float[Array, ""]) -> "Affine":
        """Interpolate between the identity (0) and this map (1)."""
        identity = (1 - alpha) * jnp.eye(len(self.offset))
        return Affine(alpha * self.matrix + identity, alpha * self.offset)

    def __call__(self, features: FeatureMap) -> FeatureMap:
        """Map every feature vector."""
        return _product(features, self.matrix) + self.offset[None, None]


class Regions(NamedTuple):
    """Regions of the content at one level.

    Attributes:
      share: Share of each region in each position, ``(R, h, w)`` in [0, 1].
      weights: Weights of the positions in the statistics of each region, with a sum of 1.
    """

    share: Float[Array, "r h w"]
    weights: Float[Array, "r h w"]


def covariance(
    features: FeatureMap, *, weights: PositionWeights | None = None
) -> tuple[Float[Array, " c"], Float[Array, "c c"]]:
    """Return mean and covariance over positions, divided by N.

    The mean is subtracted first, so that float32 resolves the small eigenvalues, by whose roots
    whitening divides.

    Args:
      features: Feature map.
      weights: Weights of the positions, with a sum of 1; None: equal.
    """
    flat = features.reshape(-1, features.shape[-1]).astype(jnp.float32)
    shares = jnp.full(len(flat), 1 / len(flat)) if weights is None else weights.reshape(-1)
    mean = _product(shares, flat)
    centered = (flat - mean[None]) * jnp.sqrt(shares)[:, None]
    return mean, _product(centered.T, centered)


def style_root(
    features: FeatureMap, transform: Transform, *, weights: PositionWeights | None = None
) -> Summary:
    """Summarize a style's feature map.

    Args:
      features: Feature map of the style.
      transform: ``whiten``: the root of the covariance (Li et al. 2017, eq. 3: ``E D^(1/2) E^T``);
        ``moments``: standard deviations (Huang and Belongie 2017, eq. 8), as a diagonal matrix.
      weights: Weights of the positions, with a sum of 1; None: equal.
    """
    mean, cov = covariance(features, weights=weights)
    return Summary(mean, _root(cov, transform)[0])


def to_style(
    content: FeatureMap,
    style: Summary,
    transform: Transform,
    *,
    weights: PositionWeights | None = None,
) -> Affine:
    """Return the map that gives a content's feature map the statistics of a style.

    With ``whiten``, the result has the style's mean and covariance (Li et al. 2017, eqs. 2 and 3);
    with ``moments``, mean and variance of every channel (Huang and Belongie 2017, eq. 8).

    Args:
      content: Feature map of the content.
      style: Summary of the style by the same transform.
      transform: ``whiten`` or ``moments``.
      weights: Weights of the content's positions in its statistics, with a sum of 1; None: equal.
    """
    mean, cov = covariance(content, weights=weights)
    matrix = _product(_root(cov, transform)[1], style.root)
    return Affine(matrix, style.mean - _product(mean, matrix))


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _root(cov: Float[Array, "c c"], transform: Transform) -> tuple[Array, Array]:
    """Return the symmetric root of a covariance (``moments``: of its diagonal), and its inverse."""
    if transform == "moments":
        deviations = jnp.sqrt(jnp.diagonal(cov) + LEAST_VARIANCE)
        return jnp.diag(deviations), jnp.diag(1 / deviations)
    values, vectors = jnp.linalg.eigh(cov)
    kept = values > LEAST_SHARE * jnp.maximum(values[-1], LEAST_VARIANCE)
    roots = jnp.sqrt(jnp.where(kept, values, 1))

    def compose(diagonal: Array) -> Array:
        return _product(vectors * jnp.where(kept, diagonal, 0)[None], vectors.T)

    return compose(roots), compose(1 / roots)


def summarize_style(
    levels: Levels,
    transform: Transform,
    params: AllParams,
    style: Image,
    weights: tuple[PositionWeights | None, ...],
) -> tuple[Summary, ...]:
    """Summarize a style at every level, compiled; encoders shared by several levels run once.

    Args:
      levels: Autoencoders.
      transform: ``whiten`` or ``moments``.
      params: Parameters of the autoencoders.
      style: ``(H, W, 3)`` RGB in [0, 1].
      weights: Weights of the positions of each level's feature map, with a sum of 1; None: equal.
    """
    summaries: dict[int, Summary] = {}
    for encoder in {id(encoder): encoder for encoder, _ in params}.values():
        indices = [i for i, (other, _) in enumerate(params) if other is encoder]
        sharing, sharing_weights = (tuple(of[i] for i in indices) for of in (levels, weights))
        roots = _summaries(sharing, transform, encoder, style, sharing_weights)
        summaries |= dict(zip(indices, roots, strict=True))
    return tuple(summaries[i] for i in range(len(levels)))


@partial(jax.jit, static_argnums=(0, 1))
def _summaries(
    levels: Levels,
    transform: Transform,
    encoder: Params,
    style: Image,
    weights: tuple[PositionWeights | None, ...],
) -> tuple[Summary, ...]:
    """Summarize a style at levels that share an encoder."""
    features = levels[0].encoder.features(encoder, style, tuple(of.layer for of in levels))
    return tuple(
        style_root(features[level.layer], transform, weights=level_weights)
        for level, level_weights in zip(levels, weights, strict=True)
    )


@partial(jax.jit, static_argnums=(0, 1))
def transfer(
    levels: Levels,
    transform: Transform,
    params: AllParams,
    content: Image,
    styles: tuple[Summary, ...],
    alpha: Float[Array, ""],
    regions: tuple[Regions | None, ...],
) -> Image:
    """Give an image the styles' statistics at every level in turn, compiled.

    Args:
      levels: Autoencoders, in the order in which they run.
      transform: ``whiten`` or ``moments``.
      params: Parameters of the autoencoders.
      content: RGB in [0, 1], with sides that are multiples of every level's stride.
      styles: For every level, the mixed styles of each region, stacked along the first axis.
      alpha: Weight of the transformed feature maps, 0 to 1; the rest is the content's (Li et al.
        2017, eq. 4).
      regions: Regions at every level; None: a single one, everywhere.

    Returns:
      RGB in [0, 1].
    """
    image = content
    for level, (encoder, decoder), style, region in zip(
        levels, params, styles, regions, strict=True
    ):
        features = level.encode(encoder, image)
        image = level.decode(decoder, _restyled(features, style, transform, alpha, region))
        image = jnp.clip(image, 0, 1)
    return image


def _restyled(
    features: FeatureMap,
    styles: Summary,
    transform: Transform,
    alpha: Float[Array, ""],
    regions: Regions | None,
) -> FeatureMap:
    """Transform every region by its statistics; positions outside of all regions stay the same."""
    if regions is None:
        style: Summary = jax.tree.map(lambda leaf: leaf[0], styles)
        return to_style(features, style, transform).blended(alpha)(features)

    def change(style: Summary, share: Array, weights: Array) -> FeatureMap:
        affine = to_style(features, style, transform, weights=weights).blended(alpha)
        return share[..., None] * (affine(features) - features)

    changes = jax.vmap(change)(styles, regions.share, regions.weights)
    return features + jnp.sum(changes, axis=0)

"""Feature transforms: the statistics of one feature map given to another, as affine maps.

Feature vectors are rows ``x``, and a map takes them to ``x @ matrix + offset``. Covariances are
divided by N, positions may be weighted.

References:
  Li, Fang, Yang, Wang, Lu, Yang: Universal Style Transfer via Feature Transforms. NIPS 2017.
  Huang, Belongie: Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization.
    ICCV 2017.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxnst._types import FeatureMap, PositionWeights
from jaxnst.feedforward.settings import Transform

LEAST_SHARE = 1e-5
"""Eigenvalues below this share of the greatest are left out: float32 tells nothing of them. Li et
al.'s program leaves out those below 1e-5 itself, of feature maps of another scale."""

LEAST_VARIANCE = 1e-5
"""Added to variances (Huang and Belongie's program)."""


class Summary(NamedTuple):
    """What a transform takes over from a style: a mean, and a matrix that forms deviations.

    Summaries of several styles are mixed by averaging them: what they do to a whitened feature
    vector is averaged so.
    """

    mean: Float[Array, "*r c"]
    root: Float[Array, "*r c c"]


class Affine(NamedTuple):
    """A map of feature vectors, as rows: ``x @ matrix + offset``."""

    matrix: Float[Array, "c c"]
    offset: Float[Array, " c"]

    def blended(self, alpha: Float[Array, ""]) -> "Affine":
        """Return the map that goes a share of the way, 0 to 1."""
        stay = (1 - alpha) * jnp.eye(len(self.offset))
        return Affine(alpha * self.matrix + stay, alpha * self.offset)

    def __call__(self, features: FeatureMap) -> FeatureMap:
        """Map every feature vector."""
        moved = jnp.matmul(features, self.matrix, precision=lax.Precision.HIGHEST)
        return moved + self.offset[None, None]


def covariance(
    features: FeatureMap, *, weights: PositionWeights | None = None
) -> tuple[Float[Array, " c"], Float[Array, "c c"]]:
    """Return mean and covariance over positions, divided by N.

    Deviations are formed before they are multiplied: their small directions, by whose roots
    whitening divides, survive float32 so.

    Args:
      features: Feature map.
      weights: Of positions, sum 1; None: all alike.
    """
    flat = features.reshape(-1, features.shape[-1]).astype(jnp.float32)
    shares = jnp.full(len(flat), 1 / len(flat)) if weights is None else weights.reshape(-1)
    mean = jnp.matmul(shares, flat, precision=lax.Precision.HIGHEST)
    centred = (flat - mean[None]) * jnp.sqrt(shares)[:, None]
    return mean, jnp.matmul(centred.T, centred, precision=lax.Precision.HIGHEST)


def style_root(
    features: FeatureMap, transform: Transform, *, weights: PositionWeights | None = None
) -> Summary:
    """Summarise a style's feature map.

    Args:
      features: Feature map of the style.
      transform: ``whiten``: the root of the covariance (Li et al. 2017, eq. 3: ``E D^(1/2) E^T``);
        ``moments``: standard deviations (Huang and Belongie 2017, eq. 8), as a diagonal matrix.
      weights: Of positions, sum 1; None: all alike.
    """
    mean, found = covariance(features, weights=weights)
    return Summary(mean, _ROOTS[transform](found)[0])


def to_style(
    content: FeatureMap,
    style: Summary,
    transform: Transform,
    *,
    weights: PositionWeights | None = None,
) -> Affine:
    """Return the map that gives a content's feature map a style's statistics.

    With ``whiten``, the result has the style's mean and covariance: Li et al. 2017, eqs. 2 and 3.
    With ``moments``, mean and variance of every channel: Huang and Belongie 2017, eq. 8.

    Args:
      content: Feature map of the content.
      style: Of the style, by the same transform.
      transform: Which of them.
      weights: Of the content's positions, sum 1: what is transformed is their statistics. None:
        all alike.
    """
    mean, found = covariance(content, weights=weights)
    _, inverse = _ROOTS[transform](found)
    matrix = jnp.matmul(inverse, style.root, precision=lax.Precision.HIGHEST)
    return Affine(matrix, style.mean - jnp.matmul(mean, matrix, precision=lax.Precision.HIGHEST))


def _whitening(found: Float[Array, "c c"]) -> tuple[Float[Array, "c c"], Float[Array, "c c"]]:
    """Return the symmetric root of a covariance and the root's inverse, without small values."""
    values, vectors = jnp.linalg.eigh(found)
    kept = values > LEAST_SHARE * jnp.maximum(values[-1], LEAST_VARIANCE)
    safe = jnp.sqrt(jnp.where(kept, values, 1))

    def of(diagonal: Array) -> Array:
        scaled = vectors * jnp.where(kept, diagonal, 0)[None]
        return jnp.matmul(scaled, vectors.T, precision=lax.Precision.HIGHEST)

    return of(safe), of(1 / safe)


def _deviations(found: Float[Array, "c c"]) -> tuple[Float[Array, "c c"], Float[Array, "c c"]]:
    deviations = jnp.sqrt(jnp.diagonal(found) + LEAST_VARIANCE)
    return jnp.diag(deviations), jnp.diag(1 / deviations)


_ROOTS: dict[Transform, Callable[[Array], tuple[Array, Array]]] = {
    "whiten": _whitening,
    "moments": _deviations,
}

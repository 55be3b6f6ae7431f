"""Statistics and losses: pure functions of feature maps and images, jnp only.

Feature maps are ``(H, W, C)``; N = H * W is the number of positions. Statistics and losses are
float32 whatever the features are. The methods of the literature differ in little else than their
normalisations, so these are options with names.

References:
  Gatys, Ecker, Bethge: A Neural Algorithm of Artistic Style. arXiv:1508.06576, 2015.
  Gatys, Ecker, Bethge: Image Style Transfer Using Convolutional Neural Networks. CVPR 2016.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxnst._types import FeatureMap, GramMatrix, Image, Scalar
from jaxnst.config import Normalization, Precision, TotalVariationKind
from jaxnst.precision import PRODUCTS

EPSILON = 1e-4
"""Added to a target's norm before dividing by it, so that a blank picture is a valid target.

The bundled network's features vary by about one; at Caffe's scale the figure vanishes."""

GramNormalization = Literal["sum", "positions", "elements"]


class Moments(NamedTuple):
    """First and second moments of a feature map over its positions, each divided by N."""

    mean: Float[Array, " c"]
    second: Float[Array, "c c"]


def gram_matrix(
    features: FeatureMap,
    *,
    normalization: GramNormalization = "positions",
    precision: Precision = "float32",
) -> GramMatrix:
    """Correlate the channels of a feature map: ``G_ij = sum_n F_ni F_nj``.

    Gatys et al. 2016, eq. 3, who leave it a sum and normalise in the loss.

    Args:
      features: Feature map; positions may be in any order without changing the result.
      normalization: Divide by nothing (``sum``), by N (``positions``; images of different
        sizes become comparable) or by C N (``elements``).
      precision: Of the products, here and in the gradient; they are summed in float32.

    Returns:
      Symmetric, positive semi-definite ``(C, C)``.

    Example:
      >>> import jax.numpy as jnp
      >>> gram_matrix(jnp.ones((4, 5, 2)), normalization="sum").tolist()
      [[20.0, 20.0], [20.0, 20.0]]
    """
    h, w, c = features.shape
    divisor = {"sum": 1, "positions": h * w, "elements": h * w * c}[normalization]
    return _products(features, PRODUCTS[precision]) / divisor


def moments(features: FeatureMap, *, precision: Precision = "float32") -> Moments:
    """Compute mean and raw second moment over positions.

    They are linear in the distribution of feature vectors, so several styles are mixed here,
    before a covariance is formed. ``precision`` is that of the products, as in :func:`gram_matrix`.
    """
    h, w, _ = features.shape
    mean = jnp.mean(features, axis=(0, 1), dtype=jnp.float32)
    return Moments(mean, _products(features, PRODUCTS[precision]) / (h * w))


def mix_moments(several: Sequence[Moments], *, weights: Sequence[float] | None = None) -> Moments:
    """Average the moments of several styles; equal weights by default, normalised to sum 1."""
    shares = jnp.ones(len(several)) if weights is None else jnp.asarray(weights)
    shares = shares / jnp.sum(shares)
    mean = sum(share * m.mean for share, m in zip(shares, several, strict=True))
    second = sum(share * m.second for share, m in zip(shares, several, strict=True))
    return Moments(jnp.asarray(mean), jnp.asarray(second))


def gram_statistic(m: Moments) -> Float[Array, "c c"]:
    """Take the Gram matrix divided by N as the style (Gatys et al. 2016)."""
    return m.second


def covariance_statistic(m: Moments) -> Float[Array, "c1 c"]:
    """Take the covariance, and the mean as one more row, as the style.

    Unlike a Gram matrix, in which the mean's outer product hides most of what varies, this
    weighs a layer's mean as one row among C + 1.
    """
    covariance = m.second - jnp.outer(m.mean, m.mean)
    return jnp.concatenate([covariance, m.mean[None]])


STATISTICS: dict[str, Callable[[Moments], Float[Array, "_ _"]]] = {
    "gram": gram_statistic,
    "covariance": covariance_statistic,
}
"""Style statistics by name; a recipe's ``style.statistic`` is looked up here."""


def content_loss(
    features: FeatureMap, target: FeatureMap, *, normalization: Normalization = "target"
) -> Scalar:
    """Compare the features F of the image being made with the content's, P.

    Args:
      features: F.
      target: P, of the same shape.
      normalization: ``sum``: ``sum (F - P)^2 / 2`` (Gatys et al. 2016, eq. 1). ``mean``:
        ``mean (F - P)^2``. ``target``: ``mean (F - P)^2 / (mean P^2 + EPSILON)``.
    """
    features, target = features.astype(jnp.float32), target.astype(jnp.float32)
    squared = jnp.sum((features - target) ** 2)
    if normalization == "sum":
        return squared / 2
    mean = squared / target.size
    if normalization == "mean":
        return mean
    return mean / (jnp.mean(target**2) + EPSILON)


def total_variation(
    image: Image, *, kind: TotalVariationKind = "squared", chroma: float | Scalar = 1.0
) -> Scalar:
    """Measure how much neighbouring pixels differ.

    Args:
      image: In the space in which it is optimised.
      kind: ``squared``: mean squared vertical plus mean squared horizontal difference, a squared
        gradient. ``sum``: ``sum (dx^2 + dy^2) / 2`` over the (H-1) x (W-1) grid, whose gradient is
        neural-style's. ``power``: ``sum (dx^2 + dy^2)^1.25`` over that grid, as the Keras example
        has it (Mahendran and Vedaldi 2015, beta = 2.5). ``diagonal``: twice the mean squared
        differences, a third of the vertical and horizontal ones and a twelfth of the two diagonal
        ones, with the border repeated once (style-transfer-pytorch).
      chroma: For ``squared``: factor of differences in colour, that is, of what is left of a
        difference when the mean of its channels is taken off. Above 1 it thins out coloured
        fringes and keeps edges.

    Returns:
      0 for a constant image.
    """
    if kind == "diagonal":
        return _nine_points(image)
    down, right = image[1:] - image[:-1], image[:, 1:] - image[:, :-1]
    if kind != "squared":
        squares = down[:, :-1] ** 2 + right[:-1] ** 2
        terms = squares / 2 if kind == "sum" else squares**1.25
        return jnp.sum(terms, dtype=jnp.float32)
    return _weighted_square(down, chroma) + _weighted_square(right, chroma)


def _weighted_square(difference: Image, chroma: float | Scalar) -> Scalar:
    """Mean square of a difference, its chromatic part multiplied by ``chroma``."""
    whole = jnp.mean(difference**2, dtype=jnp.float32)
    grey = jnp.mean(jnp.mean(difference, axis=-1) ** 2, dtype=jnp.float32)
    return grey + chroma * (whole - grey)


def _nine_points(image: Image) -> Scalar:
    """Mean squared differences with all eight neighbours, by the nine-point stencil's weights."""
    x = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    straight = x[2:, 1:-1] - image, x[1:-1, 2:] - image
    diagonal = x[1:, 1:] - x[:-1, :-1], x[1:, :-1] - x[:-1, 1:]
    thirds, twelfths = (
        sum(jnp.mean(d**2, dtype=jnp.float32) for d in pair) for pair in (straight, diagonal)
    )
    return jnp.asarray(2 * (thirds / 3 + twelfths / 12))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _products(features: FeatureMap, how: lax.Precision) -> GramMatrix:
    """Sum the outer products of the feature vectors, in float32."""
    flat = features.reshape(-1, features.shape[-1])
    return jnp.matmul(flat.T, flat, precision=how, preferred_element_type=jnp.float32)


def _products_forward(features: FeatureMap, how: lax.Precision) -> tuple[GramMatrix, FeatureMap]:
    return _products(features, how), features


def _products_backward(
    how: lax.Precision, features: FeatureMap, grad: GramMatrix
) -> tuple[FeatureMap]:
    # One product where the derivative of F^T F by the rules is two.
    flat = features.reshape(-1, features.shape[-1])
    both = (grad + grad.T).astype(flat.dtype)
    return (jnp.matmul(flat, both, precision=how).reshape(features.shape),)


_products.defvjp(_products_forward, _products_backward)

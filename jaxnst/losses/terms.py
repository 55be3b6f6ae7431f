"""Content loss and total variation: pure functions of feature maps and images, jnp only.

Losses are float32 whatever the features are. Published methods differ in little but their
normalizations, which are therefore options.

Reference:
  Gatys, Ecker, Bethge: Image Style Transfer Using Convolutional Neural Networks. CVPR 2016.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnst._checks import channels_last
from jaxnst._types import FeatureMap, Image, PositionWeights, Scalar
from jaxnst.recipes.schema import Normalization, TotalVariationKind

EPSILON = 1e-4
"""Added to a target's norm before dividing by it, so that a blank picture is a valid target.

The bundled network's features vary by about one; at Caffe's scale it is negligible."""


class ContentSums(NamedTuple):
    """What every content loss is made of: means over positions and channels.

    Attributes:
      error: Of ``(F - P)^2``.
      power: Of ``P^2``.
    """

    error: Scalar
    power: Scalar


def content_sums(
    features: FeatureMap, target: FeatureMap, *, weights: PositionWeights | None = None
) -> ContentSums:
    """Compare the features F of the image being made with the content's, P, of the same shape.

    The result is a sum over positions: those of the parts of a feature map add up to that of the
    whole, if the weights of all parts have sum 1. Without weights all count alike.
    """
    features, target = features.astype(jnp.float32), target.astype(jnp.float32)

    def mean(squares: FeatureMap) -> Scalar:
        if weights is None:
            return jnp.sum(squares) / target.size
        return jnp.sum(squares * weights[..., None]) / target.shape[-1]

    return ContentSums(mean((features - target) ** 2), mean(target**2))


def normalized_content_loss(sums: ContentSums, normalization: Normalization, size: int) -> Scalar:
    """Normalize a content loss as :func:`content_loss` describes; ``size`` is that of P."""
    if normalization == "sum":
        return sums.error * size / 2
    return sums.error if normalization == "mean" else sums.error / (sums.power + EPSILON)


def content_loss(
    features: FeatureMap,
    target: FeatureMap,
    *,
    normalization: Normalization = "target",
    weights: PositionWeights | None = None,
) -> Scalar:
    """Compare the features F of the image being made with the content's, P.

    Args:
      features: F, ``(H, W, C)``.
      target: P, of the same shape.
      normalization: ``sum``: ``sum (F - P)^2 / 2`` (Gatys et al. 2016, eq. 1). ``mean``:
        ``mean (F - P)^2``. ``target``: ``mean (F - P)^2 / (mean P^2 + EPSILON)``.
      weights: Of the positions in these means, sum 1; None: all alike. The sum is then the mean
        times the number of elements.

    Example:
      >>> import jax.numpy as jnp
      >>> features, target = jnp.full((4, 5, 2), 3.0), jnp.ones((4, 5, 2))
      >>> float(content_loss(features, target, normalization="mean"))
      4.0
    """
    sums = content_sums(features, target, weights=weights)
    return normalized_content_loss(sums, normalization, target.size)


def total_variation(
    image: Image,
    *,
    kind: TotalVariationKind = "squared",
    chroma: float | Scalar = 1.0,
    inside: Float[Array, "h w"] | None = None,
) -> Scalar:
    """Measure how much neighboring pixels differ.

    Args:
      image: In the space in which it is optimized.
      kind: ``squared``: mean squared vertical plus mean squared horizontal difference, a squared
        gradient. ``sum``: ``sum (dx^2 + dy^2) / 2`` over the (H-1) x (W-1) grid, whose gradient is
        neural-style's. ``power``: ``sum (dx^2 + dy^2)^1.25`` over that grid, as the Keras example
        has it (Mahendran and Vedaldi 2015, beta = 2.5). ``diagonal``: twice the mean squared
        differences, a third of the vertical and horizontal ones and a twelfth of the two diagonal
        ones, with the border repeated once (style-transfer-pytorch).
      chroma: For ``squared``: factor of differences in color, that is, of what is left of a
        difference when the mean of its channels is taken off. Above 1 it thins out colored
        fringes and keeps edges.
      inside: 1 where a pixel counts, else 0. Only differences between two pixels that count enter
        means and sums. None: all count.

    Returns:
      0 for a constant image.

    Raises:
      ValueError: If the image has another shape.

    Example:
      >>> import jax.numpy as jnp
      >>> stripes = jnp.broadcast_to(jnp.array([0.0, 1.0, 0.0, 1.0])[:, None], (4, 4, 3))
      >>> float(total_variation(stripes))
      1.0
    """
    fits = image.ndim == 3 and image.shape[2] == 3
    channels_last("image", image.shape, "(height, width, 3)", fits=fits)
    if kind == "diagonal":
        return _nine_points(image, inside)
    (down, below), (right, beside) = (_neighbors(image, inside, *step) for step in STEPS)
    if kind == "squared":
        return _gray_and_color(down, below, chroma) + _gray_and_color(right, beside, chroma)
    squares = down[:, :-1] ** 2 + right[:-1] ** 2
    terms = squares / 2 if kind == "sum" else squares**1.25
    if below is not None and beside is not None:
        terms = terms * (below[:, :-1] * beside[:-1])
    return jnp.sum(terms, dtype=jnp.float32)


STEPS = (1, 0), (0, 1)
"""Offsets of the neighbors below and to the right."""


def _neighbors(
    image: Float[Array, "h w c"], inside: Float[Array, "h w"] | None, down: int, right: int
) -> tuple[Float[Array, "_ _ c"], Float[Array, "_ _ 1"] | None]:
    """Return the differences of neighboring pixels, and the pairs that both count."""

    def pair(x: Array) -> tuple[Array, Array]:
        return x[down:, right:], x[: len(x) - down, : x.shape[1] - right]

    far, near = pair(image)
    if inside is None:
        return far - near, None
    one, other = pair(inside[..., None])
    return far - near, one * other


def _mean_square(difference: Float[Array, "h w c"], counts: Array | None) -> Scalar:
    if not difference.size:  # of a picture one pixel high or wide
        return jnp.zeros(())
    if counts is None:
        return jnp.mean(difference**2, dtype=jnp.float32)
    total = jnp.sum(difference**2 * counts, dtype=jnp.float32)
    return total / jnp.maximum(jnp.sum(counts) * difference.shape[-1], 1)


def _gray_and_color(difference: Image, counts: Array | None, chroma: float | Scalar) -> Scalar:
    """Mean square of a difference, its chromatic part multiplied by ``chroma``."""
    whole = _mean_square(difference, counts)
    gray = _mean_square(jnp.mean(difference, axis=-1, keepdims=True), counts)
    return gray + chroma * (whole - gray)


def _nine_points(image: Image, inside: Float[Array, "h w"] | None) -> Scalar:
    """Mean squared differences with all eight neighbors, by the nine-point stencil's weights."""
    x = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    counts = None if inside is None else jnp.pad(inside, 1, mode="edge")

    def mean(rows: slice, columns: slice, *step: int) -> Scalar:
        part = None if counts is None else counts[rows, columns]
        return _mean_square(*_neighbors(x[rows, columns], part, *step))

    whole, inner, later = slice(None), slice(1, -1), slice(1, None)
    straight = mean(later, inner, 1, 0) + mean(inner, later, 0, 1)
    diagonal = mean(whole, whole, 1, 1) + mean(whole, slice(None, None, -1), 1, 1)
    return jnp.asarray(2 * (straight / 3 + diagonal / 12))

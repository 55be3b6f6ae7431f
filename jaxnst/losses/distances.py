"""How far the style statistic of an image is from that of a style: one row per published form.

M and A are the statistics of the two at one layer, with C channels: averages over the N positions
of the feature map, so that pictures of different sizes can be compared. Published methods differ in
what they divide by; where one leaves a sum over positions, N comes in again here. P is the number
of pixels of the image that is optimized.

References:
  Gatys, Ecker, Bethge: Image Style Transfer Using Convolutional Neural Networks. CVPR 2016.
  Dowson, Landau: The Fréchet distance between multivariate normal distributions. J. Multivariate
    Analysis 12, 1982.
  Higham: Functions of Matrices. SIAM 2008, section 6.7 (the coupled Newton-Schulz iteration).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxnst._checks import lookup, not_own
from jaxnst._types import Scalar
from jaxnst.losses.terms import EPSILON

RIDGE = 1e-4
"""Added to the diagonal of covariances before a root is taken."""

ROOT_STEPS = 12
"""Newton-Schulz steps. So few do not resolve eigenvalues below about 6e-5 of the norm; that is part
of how pictures made with this distance look."""

Form = Float[Array, "..."]
"""What a statistic makes of a feature map: ``(C, C)``, ``(C + 1, C)``, or another shape."""


class Extent(NamedTuple):
    """Sizes that a distance may depend on: N and P."""

    positions: int
    pixels: int


class Distance(NamedTuple):
    """A distance of style statistics.

    Attributes:
      prepare: From a style's statistic to the target, once per run.
      compare: From an image's statistic, a target and the sizes to the loss.
      only: Name of the statistic that it compares; None: any.
    """

    prepare: Callable[[Form], Any]
    compare: Callable[[Form, Any, Extent], Scalar]
    only: str | None = None


def style_loss(
    statistic: Form, target: Form, *, distance: str = "target", positions: int = 1, pixels: int = 1
) -> Scalar:
    """Compare two style statistics of one layer.

    Args:
      statistic: Of the image being made, positions averaged.
      target: Of the style image or images, positions averaged.
      distance: Name in :data:`.DISTANCES`.
      positions: N, for the distances that need it.
      pixels: P, for the distances that need it.

    Raises:
      ValueError: If there is no such distance, or the statistic is none that it can compare.

    Example:
      >>> import jax.numpy as jnp
      >>> float(style_loss(jnp.ones((2, 2)), jnp.zeros((2, 2)), distance="gatys"))
      0.25
    """
    entry = get_distance(distance)
    return entry.compare(statistic, entry.prepare(target), Extent(positions, pixels))


def register_distance(
    name: str,
    compare: Callable[[Form, Any], Scalar],
    *,
    prepare: Callable[[Form], Any] | None = None,
) -> None:
    """Add a distance of style statistics of your own, which recipes then know by its name.

    Args:
      name: A new name, or that of one registered before, which is replaced.
      compare: From the image's statistic and the target to the loss, a scalar. Pure, in terms of
        ``jax.numpy``.
      prepare: From the style's statistic to the target, once per run; None: the statistic itself.

    Raises:
      ValueError: If the name is one of jaxnst's own.

    Example:
      >>> import jax.numpy as jnp
      >>> register_distance("largest", lambda seen, style: jnp.max(jnp.abs(seen - style)))
      >>> float(style_loss(jnp.ones((2, 2)), jnp.zeros((2, 2)), distance="largest"))
      1.0
    """
    not_own("style distance", name, _OURS)
    DISTANCES[name] = Distance(
        prepare or (lambda target: target), lambda seen, target, _: compare(seen, target)
    )


def get_distance(name: str) -> Distance:
    """Return a distance by name.

    Raises:
      ValueError: If there is none of that name.
    """
    return lookup("style distance", name, DISTANCES)


def _squares(statistic: Form, target: Form) -> Scalar:
    return jnp.sum((statistic - target) ** 2, dtype=jnp.float32)


def _scaled(
    factor: float = 1.0, *, channels: int = 0, positions: int = 0, pixels: int = 0
) -> Distance:
    """Sum the squares of ``M - A``, times a factor and powers of C, N and P."""

    def compare(statistic: Form, target: Form, extent: Extent) -> Scalar:
        sizes = target.shape[-1], extent.positions, extent.pixels
        powers = zip(sizes, (channels, positions, pixels), strict=True)
        scale = factor
        for base, exponent in powers:
            scale *= float(base) ** exponent
        return scale * _squares(statistic, target)

    return Distance(lambda target: target, compare)


def _mean(statistic: Form, target: Form, _: Extent) -> Scalar:
    return _squares(statistic, target) / target.size


def _relative(statistic: Form, target: Form, _: Extent) -> Scalar:
    return _squares(statistic, target) / (jnp.sum(target**2, dtype=jnp.float32) + EPSILON)


class GaussianTarget(NamedTuple):
    """A style as a normal distribution of feature vectors, and the root of its covariance."""

    mean: Float[Array, " c"]
    covariance: Float[Array, "c c"]
    root: Float[Array, "c c"]


def _gaussian(statistic: Form) -> tuple[Float[Array, " c"], Float[Array, "c c"]]:
    rows, channels = statistic.shape
    if rows != channels + 1:
        raise ValueError(
            "style distance 'wasserstein' compares means and covariances: set the style statistic "
            "to 'covariance'"
        )
    return statistic[-1], statistic[:-1] + RIDGE * jnp.eye(channels, dtype=statistic.dtype)


def _gaussian_target(statistic: Form) -> GaussianTarget:
    mean, covariance = _gaussian(statistic)
    root, _, norm = _newton_schulz(covariance)
    return GaussianTarget(mean, covariance, root * jnp.sqrt(norm))


def _wasserstein(statistic: Form, target: GaussianTarget, _: Extent) -> Scalar:
    mean, covariance = _gaussian(statistic)
    inner = _product(_product(target.root, covariance), target.root)
    apart = jnp.sum((mean - target.mean) ** 2)
    spread = jnp.trace(covariance) + jnp.trace(target.covariance) - 2 * root_trace(inner)
    return (apart + spread) / mean.size


@jax.custom_vjp
def root_trace(matrix: Float[Array, "c c"]) -> Scalar:
    """Compute the trace of the root of a symmetric positive definite matrix.

    The derivative of ``tr A^(1/2)`` is ``A^(-1/2) / 2``, which the iteration for the root gives
    as well: the iteration itself is not differentiated, which would be most of the work.
    """
    return _root_trace_forward(matrix)[0]


def _root_trace_forward(matrix: Array) -> tuple[Scalar, Array]:
    root, inverse, norm = _newton_schulz(matrix)
    scale = jnp.sqrt(norm)
    return jnp.trace(root) * scale, inverse / (2 * scale)


def _root_trace_backward(derivative: Array, grad: Scalar) -> tuple[Array]:
    return (grad * (derivative + derivative.T) / 2,)


root_trace.defvjp(_root_trace_forward, _root_trace_backward)


def _newton_schulz(matrix: Array) -> tuple[Array, Array, Scalar]:
    """Approximate root and inverse root of a matrix over its norm; return the norm as well."""
    norm = jnp.sqrt(jnp.sum(matrix**2))
    one = jnp.eye(len(matrix), dtype=matrix.dtype)

    def step(_: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        root, inverse = pair
        factor = (3 * one - _product(inverse, root)) / 2
        return _product(root, factor), _product(factor, inverse)

    root, inverse = lax.fori_loop(0, ROOT_STEPS, step, (matrix / norm, one))
    return root, inverse, norm


def _product(a: Array, b: Array) -> Array:
    """Multiply in full float32 on every device: errors of roots add up over the steps."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


DISTANCES = {
    "target": Distance(lambda target: target, _relative),
    "mean": Distance(lambda target: target, _mean),
    "gatys": _scaled(1 / 4, channels=-2),
    "elements": _scaled(channels=-4),
    "sums": _scaled(channels=-3, positions=1),
    "rows": _scaled(channels=-3, pixels=-1),
    "keras": _scaled(1 / 36, positions=2, pixels=-2),
    "wasserstein": Distance(_gaussian_target, _wasserstein, only="covariance"),
}
"""Distances by name; a recipe's ``style.distance`` is looked up here. With G = N M for Gram
matrices, S = sum over all entries of the squared difference:

* ``target``: S of M over ``sum A^2 + EPSILON``, a relative error that weighs every layer alike.
* ``mean``: the mean over M's entries.
* ``gatys``: S of G over ``4 N^2 C^2`` (Gatys et al. 2016, eq. 4).
* ``elements``: the mean over ``C^2`` entries for matrices ``G / (C N)`` (neural-style).
* ``sums``: the mean over entries of G itself, over ``C N``.
* ``rows``: for ``G / (C N)`` the mean over one axis, summed over the other, over P.
* ``keras``: S of G over ``4 3^2 P^2``: the Keras example takes the picture's sizes for the layer's.
* ``wasserstein``: squared 2-Wasserstein distance of normal distributions with mean m and
  covariance K, over C: ``|m - m*|^2 + tr(K + K* - 2 (K*^(1/2) K K*^(1/2))^(1/2))``, for the
  statistic ``covariance`` only (Dowson and Landau 1982).
"""

_OURS = frozenset(DISTANCES)

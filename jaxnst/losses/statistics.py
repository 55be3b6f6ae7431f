"""Style statistics: summaries of a feature map over its positions, registered by name.

Feature maps are ``(H, W, C)``; N = H * W is the number of positions. Statistics are float32
whatever the features are. Each is made in two steps: a summary of the feature vectors, in which
several styles can be mixed, and an array formed of it, which a distance compares.

References:
  Gatys, Ecker, Bethge: Image Style Transfer Using Convolutional Neural Networks. CVPR 2016.
  Huang, Belongie: Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization.
    ICCV 2017.
  Risser, Wilmot, Barnes: Stable and Controllable Neural Texture Synthesis and Style Transfer Using
    Histogram Losses. arXiv:1701.08893, 2017.
  Heitz, Vanhoey, Chambon, Belcour: A Sliced Wasserstein Loss for Neural Texture Synthesis. CVPR
    2021.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxnst._checks import lookup, not_own
from jaxnst._types import FeatureMap, GramMatrix, PositionWeights
from jaxnst.networks.precision import PRODUCTS
from jaxnst.recipes.schema import Precision

GramNormalization = Literal["sum", "positions", "elements"]

QUANTILES = 256
"""Equal shares into which a distribution is cut by :func:`quantile_means`."""

LEAST_VARIANCE = 1e-8
"""Added to variances before the root, whose gradient is infinite at 0."""


class Moments(NamedTuple):
    """First and second moments of a feature map over its positions, each divided by N."""

    mean: Float[Array, " c"]
    second: Float[Array, "c c"]


class Statistic(NamedTuple):
    """A description of a feature map that does not depend on the order of its positions.

    Attributes:
      summarize: From a feature map, the weights of its positions (sum 1; None: all alike) and the
        precision of products to a pytree of arrays. Several styles are mixed by averaging these.
      form: From such a summary to the array that distances compare.
      additive: Whether the summary is a weighted sum over positions. Then it can be added up over
        parts of the feature map, and takes no more memory than that.
    """

    summarize: Callable[[FeatureMap, PositionWeights | None, Precision], Any]
    form: Callable[[Any], Array]
    additive: bool = False

    def __call__(
        self,
        features: FeatureMap,
        *,
        weights: PositionWeights | None = None,
        precision: Precision = "float32",
    ) -> Array:
        """Take the statistic of a feature map."""
        return self.form(self.summarize(features, weights, precision))


def gram_matrix(
    features: FeatureMap,
    *,
    normalization: GramNormalization = "positions",
    precision: Precision = "float32",
) -> GramMatrix:
    """Correlate the channels of a feature map: ``G_ij = sum_n F_ni F_nj``.

    Gatys et al. 2016, eq. 3, who leave it a sum and normalize in the loss.

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
    return _products(_flat(features), None, PRODUCTS[precision]) / divisor


def moments(
    features: FeatureMap,
    *,
    weights: PositionWeights | None = None,
    precision: Precision = "float32",
) -> Moments:
    """Compute mean and raw second moment over positions.

    They are linear in the distribution of feature vectors, so several styles are mixed in them,
    before a covariance is formed. ``precision`` is that of the products, as in :func:`gram_matrix`;
    ``weights`` of positions sum to 1 (guided Gram matrices: Gatys et al., Controlling Perceptual
    Factors in Neural Style Transfer, CVPR 2017, eq. 5, with their weights squared).

    Example:
      >>> import jax.numpy as jnp
      >>> mean, second = moments(jnp.full((4, 5, 2), 3.0))
      >>> mean.tolist(), second.tolist()
      ([3.0, 3.0], [[9.0, 9.0], [9.0, 9.0]])
    """
    flat, how = _flat(features), PRODUCTS[precision]
    if weights is None:
        mean = jnp.mean(features, axis=(0, 1), dtype=jnp.float32)
        return Moments(mean, _products(flat, None, how) / len(flat))
    shares = weights.reshape(-1, 1)
    mean = jnp.sum(shares * flat, axis=0, dtype=jnp.float32)
    # Most shares are equal: rounded to 16 bits, all would be off in the same direction.
    greatest = jnp.maximum(jnp.max(shares), 1e-30)  # in a tile all may be 0
    return Moments(mean, greatest * _products(flat, shares / greatest, how))


def mix(several: Sequence[Any], weights: Float[Array, " styles"]) -> Any:
    """Average summaries of several styles by weights, which sum to 1."""
    return jax.tree.map(
        lambda *parts: sum(weights[i] * part for i, part in enumerate(parts)), *several
    )


def quantile_means(
    values: Float[Array, "n d"], *, weights: Float[Array, " n"] | None = None
) -> Float[Array, "q d"]:
    """Sort every column, cut it into equal shares, and take the mean of each.

    This makes distributions of different sizes comparable: the mean squared difference of two is
    their squared Wasserstein distance in one dimension, apart from what varies within a share. The
    gradient is taken with the order held fixed.

    Args:
      values: N values in each of D columns.
      weights: Of the N, sum 1; None: all alike.

    Returns:
      ``(QUANTILES, D)``, ascending.
    """
    count, columns = values.shape
    shares = jnp.full(count, 1 / count) if weights is None else weights
    order = jnp.argsort(lax.stop_gradient(values), axis=0)
    # Differences from the mean are summed, which keeps rounding errors small.
    centre = jnp.sum(shares[:, None] * values, axis=0, keepdims=True, dtype=jnp.float32)
    rising = jnp.take_along_axis(values, order, axis=0) - centre
    width = shares[order]
    ends = jnp.cumsum(width, axis=0)
    sums = jnp.cumsum(width * rising, axis=0)
    start = jnp.zeros((1, columns))
    edges = jnp.linspace(0, 1, QUANTILES + 1)
    at_edges = jax.vmap(partial(jnp.interp, edges), in_axes=1, out_axes=1)(
        jnp.concatenate([start, ends / ends[-1:]]), jnp.concatenate([start, sums])
    )
    return jnp.diff(at_edges, axis=0) * QUANTILES + centre


def covariance_statistic(m: Moments) -> Float[Array, "c1 c"]:
    """Form the covariance, with the mean as one more row.

    In a Gram matrix the outer product of the mean hides most of what varies. Here the mean is one
    row among C + 1.
    """
    covariance = m.second - jnp.outer(m.mean, m.mean)
    return jnp.concatenate([covariance, m.mean[None]])


def _of_moments(form: Callable[[Moments], Array]) -> Statistic:
    return Statistic(
        lambda f, weights, p: moments(f, weights=weights, precision=p), form, additive=True
    )


def _first_two(
    features: FeatureMap, weights: PositionWeights | None, precision: Precision
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    flat = _flat(features).astype(jnp.float32)
    shares = jnp.full(len(flat), 1 / len(flat)) if weights is None else weights
    shares = shares.reshape(-1, 1)
    return jnp.sum(shares * flat, axis=0), jnp.sum(shares * flat**2, axis=0)


def _mean_deviation(summary: tuple[Float[Array, " c"], Float[Array, " c"]]) -> Float[Array, "2 c"]:
    mean, square = summary
    variance = jnp.maximum(square - mean**2, 0)
    return jnp.stack([mean, jnp.sqrt(variance + LEAST_VARIANCE)])


def _histogram(
    features: FeatureMap, weights: PositionWeights | None, precision: Precision
) -> Float[Array, "q c"]:
    flat = _flat(features).astype(jnp.float32)
    return quantile_means(flat, weights=None if weights is None else weights.reshape(-1))


def _sliced(
    features: FeatureMap, weights: PositionWeights | None, precision: Precision
) -> Float[Array, "q c"]:
    flat = _flat(features)
    seen = jnp.matmul(
        flat,
        _directions(features.shape[-1]).astype(flat.dtype),
        precision=PRODUCTS[precision],
        preferred_element_type=jnp.float32,
    )
    return quantile_means(seen, weights=None if weights is None else weights.reshape(-1))


def _neighbors(features: FeatureMap, weights: PositionWeights | None, precision: Precision) -> Any:
    raise ValueError(
        "style statistic 'neighbors' matches each picture by itself and has no summary of a style: "
        "use it with stylize, or set another statistic, such as covariance"
    )


@lru_cache(maxsize=32)
def _directions(channels: int) -> np.ndarray:
    """Draw as many directions as there are channels, the same ones every time, as columns."""
    with jax.ensure_compile_time_eval():
        drawn = np.asarray(jax.random.normal(jax.random.key(channels), (channels, channels)))
    return drawn / np.linalg.norm(drawn, axis=0)


def _itself(summary: Array) -> Array:
    return summary


STATISTICS: dict[str, Statistic] = {
    "gram": _of_moments(lambda m: m.second),
    "covariance": _of_moments(covariance_statistic),
    "mean-deviation": Statistic(_first_two, _mean_deviation, additive=True),
    "histogram": Statistic(_histogram, _itself),
    "sliced": Statistic(_sliced, _itself),
    "neighbors": Statistic(_neighbors, _itself),
}
"""Style statistics by name; a recipe's ``style.statistic`` is looked up here.

* ``gram``: second moments (Gatys et al. 2016).
* ``covariance``: covariance, and the mean as one more row.
* ``mean-deviation``: mean and standard deviation of every channel (Huang and Belongie 2017).
* ``histogram``: the distribution of every channel by :func:`quantile_means`. Its squared difference
  from a style's is that from the map whose histogram has been matched (Risser et al. 2017, eq. 5),
  apart from what varies within a share.
* ``sliced``: the same along C fixed random directions (Heitz et al. 2021, who draw new ones for
  every step; L-BFGS needs one function).
* ``neighbors``: none, but the loss of :mod:`jaxnst.losses.neighbors`, which only runs of
  :func:`jaxnst.stylize` and :func:`jaxnst.stylize_batch` have.
"""

_OURS = frozenset(STATISTICS)


def register_statistic(
    name: str, function: Callable[[FeatureMap, PositionWeights | None], Array]
) -> None:
    """Add a style statistic of your own, which recipes then know by its name.

    Args:
      name: A new name, or that of one registered before, which is replaced.
      function: From a feature map ``(H, W, C)`` and the weights of its positions ``(H, W)``, which
        sum to 1 (None: all alike), to an array whose shape does not depend on H and W. Pure, in
        terms of ``jax.numpy``. Styles are mixed by averaging these arrays.

    Raises:
      ValueError: If the name is one of jaxnst's own.

    Example:
      >>> import jax.numpy as jnp
      >>> register_statistic("peak", lambda features, weights: jnp.max(features, axis=(0, 1))[None])
      >>> get_statistic("peak")(jnp.ones((4, 5, 2))).tolist()
      [[1.0, 1.0]]
    """
    not_own("style statistic", name, _OURS)
    STATISTICS[name] = Statistic(lambda f, weights, _: function(f, weights), _itself)


def get_statistic(name: str) -> Statistic:
    """Return a statistic by name.

    Raises:
      ValueError: If there is none of that name.
    """
    return lookup("style statistic", name, STATISTICS)


def _flat(features: FeatureMap) -> Float[Array, "n c"]:
    return features.reshape(-1, features.shape[-1])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _products(
    flat: Float[Array, "n c"], shares: Float[Array, "n 1"] | None, how: lax.Precision
) -> GramMatrix:
    """Sum the outer products of feature vectors, times their shares, in float32."""
    weighted = flat if shares is None else flat * shares.astype(flat.dtype)
    return jnp.matmul(flat.T, weighted, precision=how, preferred_element_type=jnp.float32)


def _products_forward(flat: Array, shares: Array | None, how: lax.Precision) -> tuple[Array, Any]:
    return _products(flat, shares, how), (flat, shares)


def _products_backward(how: lax.Precision, saved: Any, grad: GramMatrix) -> tuple[Array, Any]:
    # One product, where JAX's own derivative of F^T F takes two.
    flat, shares = saved
    both = (grad + grad.T).astype(flat.dtype)
    back = jnp.matmul(flat, both, precision=how)
    if shares is None:
        return back, None
    lengths = jnp.matmul(
        flat, grad.astype(flat.dtype), precision=how, preferred_element_type=jnp.float32
    )
    of_shares = jnp.sum(flat * lengths, axis=1, keepdims=True)  # XLA drops it where it is not used
    return back * shares.astype(flat.dtype), of_shares.astype(shares.dtype)


_products.defvjp(_products_forward, _products_backward)

"""Style transfer by nearest neighbors: feature vectors of the picture follow those of the style.

In place of a statistic over all positions, every position of the picture has a vector of the style
as its target: the nearest to that of the content, found once per scale (:class:`ColumnTargets`), or
to its own, found again at every step on samples (:class:`LayerTargets`). Both measure cosine
distances.

Reference:
  Kolkin, Kucera, Paris, Sykora, Shechtman, Shakhnarovich: Neural Neighbor Style Transfer.
    arXiv:2203.13215, 2022.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, UInt

from jaxnst._types import FeatureMap, Scalar
from jaxnst.networks.precision import PRODUCTS
from jaxnst.recipes.schema import Precision

REDUCTION = 4
"""Pixels per side of a hypercolumn."""

LIBRARY = 16384
"""Style vectors that are kept of each layer for :class:`LayerTargets`."""

STYLE_SAMPLES, SAMPLES = 4096, 2048
"""How many of those, and of the picture's positions, are compared at a step, at most."""

AT_ONCE = 2**24
"""Similarities that are in memory at a time."""

LEAST_NORM = 1e-4
"""Shorter vectors are divided by this, in place of their length."""

Vectors: TypeAlias = Float[Array, "_n _c"]
"""A feature vector in each row."""


class ColumnTargets(NamedTuple):
    """A style vector for each hypercolumn of the picture, of length 1: ``(H // 4, W // 4, C)``."""

    columns: FeatureMap


class LayerTargets(NamedTuple):
    """Vectors among which the nearest is found at every step.

    Attributes:
      library: By layer, of the style, less their mean and of length 1, in random order.
      seed: Decides the samples of every step.
    """

    library: dict[str, Vectors]
    seed: UInt[Array, ""]


def column_part(features: FeatureMap, size: tuple[int, int]) -> FeatureMap:
    """Bring a layer to the size of the hypercolumns, divided by its number of channels.

    Linear interpolation between positions, without a wider filter for finer layers, which would
    blur what they respond to. The picture has ``size``, pixels.
    """
    channels = features.shape[-1]
    shape = (*(max(1, side // REDUCTION) for side in size), channels)
    return jax.image.resize(features, shape, "linear", antialias=False) / channels


def unit(vectors: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
    """Divide vectors, along the last axis, by their length."""
    squares = jnp.sum(vectors**2, axis=-1, keepdims=True, dtype=jnp.float32)
    return vectors * lax.rsqrt(jnp.maximum(squares, LEAST_NORM**2))


def centered(vectors: Vectors) -> Vectors:
    """Subtract the mean of all vectors and divide each by its length."""
    return unit(vectors - jnp.mean(vectors, axis=0, keepdims=True, dtype=jnp.float32))


def column_loss(columns: FeatureMap, targets: ColumnTargets) -> Scalar:
    """Return the mean cosine distance of the picture's hypercolumns from their targets, 0 to 2."""
    return 1 - jnp.mean(jnp.sum(unit(columns) * targets.columns, axis=-1))


def nearest(
    vectors: Vectors, library: Sequence[Vectors], *, precision: Precision = "float32"
) -> Vectors:
    """Return for each vector the one of a library at the least cosine distance.

    Both are centered before, each by its own mean. Similarities are computed in blocks, and the
    library stays in its parts, so that memory does not grow with the product of the two numbers.
    """
    sums = [jnp.sum(part, axis=0, keepdims=True, dtype=jnp.float32) for part in library]
    mean = sum(sums) / sum(map(len, library))
    product = partial(jnp.matmul, precision=PRODUCTS[precision])
    queries = vectors - jnp.mean(vectors, axis=0, keepdims=True, dtype=jnp.float32)

    def best_of(part: Vectors) -> tuple[Float[Array, " _n"], Vectors]:
        squares = jnp.sum((part - mean) ** 2, axis=1)
        scale = lax.rsqrt(jnp.maximum(squares, LEAST_NORM**2))

        def of_one(query: Float[Array, " c"]) -> tuple[Scalar, Int[Array, ""]]:
            similar = (product(part, query) - product(mean, query)) * scale
            return jnp.max(similar), jnp.argmax(similar)

        block = max(1, min(len(queries), AT_ONCE // len(part)))
        most, indices = lax.map(of_one, queries, batch_size=block)
        return most, part[indices]

    most, chosen = best_of(library[0])
    for part in library[1:]:
        similar, vectors = best_of(part)
        chosen = jnp.where((similar > most)[:, None], vectors, chosen)
        most = jnp.maximum(most, similar)
    return chosen


def library_sample(key: Array, features: FeatureMap, count: int) -> Vectors:
    """Draw vectors of a feature map without replacement; if it has fewer, all, some repeatedly."""
    flat = features.reshape(-1, features.shape[-1])
    drawn = jax.random.permutation(key, len(flat))[jnp.arange(count) % len(flat)]
    return flat[drawn].astype(jnp.float32)


def make_library(key: Array, samples: Sequence[Vectors]) -> Vectors:
    """Join samples of one layer to :data:`LIBRARY` centered vectors in random order."""
    vectors = jnp.concatenate(samples)
    return centered(vectors[jax.random.permutation(key, len(vectors))[:LIBRARY]])


def sample_positions(key: Array, features: FeatureMap) -> Vectors:
    """Take vectors of a feature map on a grid at a random offset, :data:`SAMPLES` at most.

    A grid that leaves the map repeats its last row or column.
    """
    height, width, channels = features.shape
    step = 1
    while -(-height // step) * -(-width // step) > SAMPLES:
        step += 1
    down, right = jax.random.randint(key, (2,), 0, step)
    rows = jnp.minimum(down + step * jnp.arange(-(-height // step)), height - 1)
    columns = jnp.minimum(right + step * jnp.arange(-(-width // step)), width - 1)
    return features[rows][:, columns].reshape(-1, channels).astype(jnp.float32)


def layer_loss(key: Array, vectors: Vectors, library: Vectors, *, precision: Precision) -> Scalar:
    """Return the mean cosine distance of vectors, centered, from the nearest of a library, 0 to 2.

    ``key`` decides which :data:`STYLE_SAMPLES` of the library, from :func:`make_library`, are
    looked at. The gradient goes through the picture's vectors alone, with the choice of the nearest
    held fixed.
    """
    count = min(STYLE_SAMPLES, len(library))
    first = jax.random.randint(key, (), 0, len(library) - count + 1)
    sample = lax.dynamic_slice_in_dim(library, first, count)
    directions = centered(vectors)
    similar = jnp.matmul(lax.stop_gradient(directions), sample.T, precision=PRODUCTS[precision])
    return 1 - jnp.mean(jnp.sum(directions * sample[jnp.argmax(similar, axis=1)], axis=-1))

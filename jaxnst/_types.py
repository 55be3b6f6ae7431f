"""Names for the arrays that travel through the program, all channels-last.

Batches never appear here: core functions take one image, and ``jax.vmap`` makes them take many.
"""

from typing import TypeAlias

from jaxtyping import Array, Float

Image: TypeAlias = Float[Array, "_height _width 3"]
"""Height x width x RGB, float32. In [0, 1] wherever it is loaded, saved or shown."""

FeatureMap: TypeAlias = Float[Array, "_height _width _channels"]
"""Height x width x channels: what one layer of a loss network gives."""

PositionWeights: TypeAlias = Float[Array, "_height _width"]
"""How much every position of a feature map counts; they sum to 1."""

GramMatrix: TypeAlias = Float[Array, "_channels _channels"]
"""Channels x channels: second moments of a feature map over its positions."""

Features: TypeAlias = dict[str, FeatureMap]
"""Feature maps by layer name."""

Scalar: TypeAlias = Float[Array, ""]
"""A number that may be traced."""

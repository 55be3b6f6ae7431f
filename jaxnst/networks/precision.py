"""Precision of a loss network and of the statistics of its feature maps.

``float32`` is full float32 on every device. ``tf32`` lets NVIDIA's GPUs round the factors of
products to 10 bits, which their tensor cores are made for; on a CPU it is float32. ``bfloat16``
keeps feature maps and kernels in 16 bits, which halves the memory of the maps. In every precision,
statistics and losses are summed in float32, and the image and the solver's state are float32.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxnst.recipes.schema import Precision

PRODUCTS: dict[Precision, lax.Precision] = {
    "float32": lax.Precision.HIGHEST,
    "tf32": lax.Precision.HIGH,
    "bfloat16": lax.Precision.DEFAULT,
}
"""Argument of every product and convolution: JAX's own default is TF32 on GPUs."""


def map_bytes(precision: Precision, *, host: bool) -> int:
    """Return how many bytes a value of a feature map takes.

    On the host XLA widens 16 bits to float32 for most operations: by its memory analysis the loop
    of a small VGG needs no less in ``bfloat16``.
    """
    return 2 if precision == "bfloat16" and not host else 4


def rounded(values: Float[Array, "*any"], precision: Precision) -> Float[Array, "*any"]:
    """Round values to 16 bits if the precision is ``bfloat16``."""
    return values.astype(jnp.bfloat16) if precision == "bfloat16" else values

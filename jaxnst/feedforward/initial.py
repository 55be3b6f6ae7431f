"""What a network's parameters are before it is trained.

Reference:
  He, Zhang, Ren, Sun: Delving Deep into Rectifiers. ICCV 2015.
"""

import math
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from jaxnst._numerics import own_numerics
from jaxnst.networks.convnet import Shapes
from jaxnst.networks.registry import Params


@own_numerics()
def initial_parameters(
    shapes: Shapes, *, seed: int = 0, factors: Mapping[str, float] | None = None
) -> Params:
    """Draw kernels by He et al. 2015: normal, of variance 2 over the number of inputs.

    Factors and variances of normalisations are 1, everything else is 0. NumPy draws, so that the
    same seed gives the same values whatever JAX does, and nothing has to be compiled.

    Args:
      shapes: Of the parameters by flat name, ``conv1/kernel`` with the outputs last.
      seed: Decides the draw.
      factors: What parameters are multiplied by, by flat name. A small last kernel makes the first
        pictures an even grey, from which no colour is far.

    Returns:
      Parameters by layer, float32.
    """
    rng, found = np.random.default_rng(seed), Params()
    for name, shape in shapes.items():
        layer, part = name.split("/")
        values = np.full(shape, float(part in ("gamma", "variance")))
        if part == "kernel":
            values = rng.normal(0, math.sqrt(2 / math.prod(shape[:-1])), shape)
        values *= (factors or {}).get(name, 1.0)
        found.setdefault(layer, {})[part] = jnp.asarray(values, jnp.float32)
    return found

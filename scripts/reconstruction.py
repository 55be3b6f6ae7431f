"""Reconstructions of pictures by decoders, for scripts that train and measure them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.feedforward.decoders import Autoencoder
from jaxnst.networks.registry import Params


@partial(jax.jit, static_argnums=0)
def given_back(level: Autoencoder, encoder: Params, decoder: Params, image: jax.Array) -> jax.Array:
    """Encode and decode."""
    return jnp.clip(level.decode(decoder, level.encode(encoder, image)), 0, 1)


def psnr(one: jax.Array | np.ndarray, other: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio, dB."""
    return float(-10 * np.log10(np.mean((np.asarray(one) - other) ** 2)))

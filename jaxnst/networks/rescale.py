"""Rescale the filters of a VGG without changing what the deeper layers make of them.

A ReLU and both poolings pass a positive factor on, and the next convolution's kernel divides by it.
Gatys et al. 2016 (section 2) rescale VGG19 in this way so that every filter's mean activation over
images and positions is 1.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnst._types import Image
from jaxnst.networks.registry import LossNetwork, Params
from jaxnst.networks.tiles import Positions, make_tiling, sum_over_tiles
from jaxnst.networks.vgg import VGG

LEAST_MEAN = 0.3
"""Least mean activation that is assumed of a filter, as a share of its layer's mean: few images
leave some filters nearly silent, and made as loud as the others they would drown them."""


def unit_means(
    network: LossNetwork,
    images: Sequence[Image],
    *,
    deepest: str | None = None,
    tile: int | None = None,
) -> Params:
    """Return parameters with which filters have a mean activation of 1 over images.

    A filter below ``LEAST_MEAN`` of its layer's mean is rescaled as if it had that mean, and stays
    below 1. Gatys et al. 2016, section 2, who take the mean over ImageNet's validation images;
    without their network, the images of a run are all there is.

    Args:
      network: A VGG with the padding and pooling that it is going to be used with.
      images: ``(H, W, 3)`` RGB in [0, 1], of any sizes; each counts alike.
      deepest: The last layer whose filters are rescaled; None: that of the network.
      tile: Longest side of the tiles in which images are processed, pixels; None: whole.

    Raises:
      ValueError: If the network is not a VGG, or there is no image.
    """
    if not images:
        raise ValueError("images is empty, expected at least one picture to take means over")
    if not isinstance(network.module, VGG):
        raise ValueError(f"{network.name} cannot be rescaled: only a VGG can")
    names = network.layers
    if deepest is not None:
        names = names[: names.index(deepest.replace("conv", "relu")) + 1]
    relus = tuple(name for name in names if name.startswith("relu"))
    several = [
        _mean_activations(network, network.params, jnp.asarray(i), relus, tile) for i in images
    ]
    params: Params = {}
    before = jnp.ones(3)
    for name in (layer for layer in network.layers if layer in network.params):
        kernel, bias = network.params[name]["kernel"], network.params[name]["bias"]
        factor = jnp.ones(bias.shape)
        if (relu := name.replace("conv", "relu")) in several[0]:
            mean = sum(means[relu] for means in several) / len(several)
            factor = 1 / jnp.maximum(mean, LEAST_MEAN * jnp.mean(mean) + 1e-12)
        kernel = kernel / before[None, None, :, None] * factor[None, None, None]
        params[name] = {"kernel": kernel, "bias": bias * factor}
        before = factor
    return params


@partial(jax.jit, static_argnums=(0, 3, 4))
def _mean_activations(
    network: LossNetwork, params: Params, image: Image, relus: tuple[str, ...], tile: int | None
) -> dict[str, Float[Array, " c"]]:
    size, table = image.shape[:2], network.table
    layers = tuple(name for name in relus if table[name].least <= min(size))
    everywhere = {name: Positions((), (None,)) for name in layers}
    tiling = make_tiling(network, layers, size, tile) if tile and layers else None
    if tiling is None:
        return _means(network, params, image, everywhere)
    return sum_over_tiles(partial(_means, network), tiling, params, image, everywhere)


def _means(
    network: LossNetwork, params: Params, image: Image, positions: dict[str, Positions]
) -> dict[str, Float[Array, " c"]]:
    means = {}
    for name, features in network.features(params, image, tuple(positions)).items():
        (weights,) = positions[name].weights
        if weights is None:
            means[name] = jnp.mean(features, axis=(0, 1), dtype=jnp.float32)
        else:
            means[name] = jnp.sum(features * weights[..., None], axis=(0, 1), dtype=jnp.float32)
    return means

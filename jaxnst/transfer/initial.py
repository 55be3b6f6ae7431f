"""What an image starts from other than a picture: noise, gray or in the styles' colors."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxnst.networks.color_space import decode, encode
from jaxnst.recipes.schema import Noise, Space
from jaxnst.transfer.masks import Mask, sized
from jaxnst.transfer.pyramid import Size
from jaxnst.transfer.result import Picture


def make_noise(key: jax.Array, content: Picture, noise: Noise, space: Space) -> Picture:
    """Make a recipe's noise, with its share of the content picture of the same size.

    The content is RGB, and so is the result, which may exceed [0, 1].
    """
    if noise.centre is None:
        centre = encode(jnp.full(content.shape, 0.5), space)
    else:
        centre = jnp.full(content.shape, noise.centre)
    if noise.distribution == "uniform":
        deviation = jax.random.uniform(key, content.shape, minval=-1.0)
    else:
        deviation = jax.random.normal(key, content.shape)
    of_noise = noise.share * (centre + noise.spread * deviation)
    start = of_noise + (1 - noise.share) * encode(jnp.asarray(content), space)
    return np.asarray(decode(start, space))


def scatter_colors(
    key: jax.Array,
    styles: Sequence[tuple[Picture, Mask | None]],
    size: Size,
    *,
    shares: Sequence[float] | NDArray[np.floating] | None = None,
) -> Picture:
    """Fill a picture with pixels drawn at random from the styles.

    Its colors have the mean, the covariance and every other statistic of single pixels that the
    styles' mixture has, and lie in [0, 1]. style-transfer-pytorch starts from normal noise of the
    styles' means and variances (``style_stats``), which [0, 1] truncates.

    Styles are RGB in [0, 1], of any sizes. Pixels are drawn where a style's mask is at least half
    of its greatest value; None: from all. ``shares`` says how much of each style there is, in
    proportion; None: equal parts.
    """
    chosen, *keys = jax.random.split(key, 1 + len(styles))
    parts = jnp.ones(len(styles)) if shares is None else jnp.asarray(shares, jnp.float32)
    which = np.asarray(jax.random.choice(chosen, len(styles), size, p=parts / parts.sum()))
    image = np.empty((*size, 3), np.float32)
    for number, ((style, mask), own) in enumerate(zip(styles, keys, strict=True)):
        pixels, here = style.reshape(-1, 3), which == number
        if mask is not None:
            pixels = style[sized(mask, style.shape[:2]) >= mask.max() / 2]
        image[here] = pixels[np.asarray(jax.random.randint(own, size, 0, len(pixels)))[here]]
    return image

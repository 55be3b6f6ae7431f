"""Any style in one pass, from arrays to an array, checked; and as a start for the optimisation."""

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxnst._checks import check_picture, style_pictures
from jaxnst._numerics import own_numerics
from jaxnst.feedforward.decoders import BUNDLED, Autoencoder, load_autoencoders
from jaxnst.feedforward.one_pass import OnePass
from jaxnst.feedforward.settings import LEVELS, Instant, Transform, as_levels
from jaxnst.networks.registry import LossNetwork
from jaxnst.recipes.schema import ONE_PASS
from jaxnst.transfer.guidance import Guidance, StyleMix
from jaxnst.transfer.result import Picture
from jaxnst.transfer.style_cache import StyleImage


@own_numerics()
def instant(
    content: ArrayLike,
    styles: ArrayLike | Sequence[ArrayLike],
    *,
    network: str | LossNetwork = ONE_PASS,
    decoders: dict[int, Autoencoder] | str | os.PathLike[str] | None = None,
    alpha: int | float = Instant.alpha,
    levels: Sequence[int] = LEVELS,
    transform: Transform = Instant.transform,
    size: int | None = None,
    style_size: int | None = None,
    style_mix: StyleMix | None = None,
    masks: Sequence[ArrayLike] = (),
    style_masks: Sequence[ArrayLike] = (),
) -> NDArray[np.float32]:
    """Paint a content image in the manner of one or several style images, in one pass.

    Args:
      content: ``(H, W, 3)`` RGB in [0, 1]. With a fourth channel, its opacity, as
        :func:`jaxnst.stylize`.
      styles: One such image or several, of any sizes; what is transparent does not count.
      network: A VGG with decoders, or the name of one.
      decoders: Its autoencoders by level (:func:`load_autoencoders`), or their file; None: those
        that ship.
      alpha: How much of the style: from 0, the content as the decoders give it back, to 1.
      levels: Which levels, in the order in which they run; 4 changes the largest forms, 1 colours
        alone. Li et al. begin with 5.
      transform: ``whiten`` matches mean and covariance of the feature maps (Li et al. 2017),
        ``moments`` mean and deviation of every channel (Huang and Belongie 2017).
      size: Longest side of the result, pixels; None: the content's.
      style_size: Longest side of the style images; None: that of the result. A style is never
        enlarged, but for 3 % by which its sides may be rounded.
      style_mix: Weights of the styles, or of single levels' layers by name, as
        :func:`jaxnst.stylize`: ``{"": (1, 0), "relu1_1": (0, 1)}``.
      masks: Regions of the content, as :func:`jaxnst.stylize`; what no mask covers is the content
        as the decoders give it back.
      style_masks: For each style which part of it counts.

    Returns:
      ``(H, W, 3)`` RGB in [0, 1]; ``(H, W, 4)`` with its opacity where the content is transparent.

    Raises:
      FileNotFoundError: If the file of decoders is not there.
      TypeError: If a picture or a mask holds integers.
      ValueError: If a picture has the wrong shape or values, or is too small, or an argument is
        out of range, or the network has no decoder for a level, or the file holds none of its.
      KeyError: If there is no network or layer of a name.
    """
    method = Instant(alpha=alpha, levels=as_levels(levels), transform=transform)
    if not isinstance(decoders, dict):
        decoders = load_autoencoders(network, decoders=decoders)
    one_pass = OnePass(
        decoders,
        style_images(styles),
        method,
        size=size,
        style_size=style_size,
        style_mix=style_mix,
        style_masks=style_masks,
    )
    return one_pass.paint([content], masks=masks)[0]


def style_images(styles: ArrayLike | Sequence[ArrayLike]) -> list[StyleImage]:
    """Check style images, one or several.

    Raises:
      TypeError: If one holds integers.
      ValueError: If there is none, or one has the wrong shape or values.
    """
    return [
        StyleImage(check_picture(name, style, opacity=True))
        for name, style in style_pictures(styles)
    ]


def start_in_one_pass(
    content: Picture, styles: Sequence[StyleImage], guidance: Guidance, *, size: int
) -> Picture:
    """Paint what an optimisation starts from, with the network that ships, whichever looks on.

    Args:
      content: ``(H, W, 3)`` RGB in [0, 1].
      styles: The style images.
      guidance: Which of them goes where; weights of layers that are no levels count for nothing.
      size: Longest side of the result, pixels.

    Returns:
      RGB in [0, 1].
    """
    autoencoders = load_autoencoders(next(iter(BUNDLED)))
    known = {"", *(autoencoders[level].layer for level in LEVELS)}
    mix = {layer: weights for layer, weights in guidance.mix.items() if layer in known}
    one_pass = OnePass(autoencoders, styles, Instant(), size=size)
    return one_pass.through([content], styles, [replace(guidance, mix=mix)])[0][..., :3]

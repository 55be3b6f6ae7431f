"""Any style in one pass, from pictures to a picture; and as a start for the optimization."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import Lock

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from jaxnst._checks import check_picture, style_pictures
from jaxnst._numerics import default_numerics
from jaxnst.feedforward.decoders import BUNDLED, Autoencoder, load_autoencoders
from jaxnst.feedforward.settings import LEVELS, Instant, Transform, as_levels
from jaxnst.feedforward.wct import Regions, Summary, summarize_style, transfer
from jaxnst.image import resize
from jaxnst.networks.precision import PRODUCTS
from jaxnst.networks.registry import LossNetwork
from jaxnst.optim.sharding import default_device
from jaxnst.recipes.schema import ONE_PASS, Scales
from jaxnst.transfer.guidance import Guidance, StyleMix, check_mix, make_guidance
from jaxnst.transfer.masks import Mask, layer_sizes, position_weights, sized
from jaxnst.transfer.pyramid import Size, make_schedule
from jaxnst.transfer.result import Picture
from jaxnst.transfer.style_cache import StyleImage

SCALES = Scales(several=False)
"""One scale; sides of styles are rounded as in the optimizing path, so that programs are few."""

MARGIN, MULTIPLE = 8, 32
"""Least number of pixels mirrored around the picture, and what its sides are then a multiple of:
decoders are less accurate at a border, and there are fewer shapes to compile for."""

_lapack_lock = Lock()


@default_numerics()
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
      content: ``(H, W, 3)`` RGB in [0, 1]. A fourth channel is its opacity, as in
        :func:`jaxnst.stylize`.
      styles: One such image or several, of any sizes; what is transparent does not count.
      network: A VGG with decoders, or the name of one.
      decoders: Its autoencoders by level (:func:`load_autoencoders`), or their file; None: those
        that ship.
      alpha: How much of the style: from 0, the content after encoding and decoding, to 1.
      levels: Levels in the order in which they run; 4 changes the largest forms, 1 colors
        alone. Li et al. begin with 5.
      transform: ``whiten`` matches mean and covariance of the feature maps (Li et al. 2017),
        ``moments`` mean and deviation of every channel (Huang and Belongie 2017).
      size: Longest side of the result, pixels; None: the content's.
      style_size: Longest side of the style images; None: that of the result. A style is never
        enlarged, but for 3 % by which its sides may be rounded.
      style_mix: Weights of the styles, or of single levels' layers by name, as in
        :func:`jaxnst.stylize`: ``{"": (1, 0), "relu1_1": (0, 1)}``.
      masks: Regions of the content, as in :func:`jaxnst.stylize`; outside of all masks the content
        is only encoded and decoded.
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
    return one_pass.paint(content, masks=masks)


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
    """Paint the initial image of an optimization, by any network, with the decoders that ship.

    Args:
      content: ``(H, W, 3)`` RGB in [0, 1].
      styles: The style images.
      guidance: Where each style goes; weights of layers that are no levels are ignored.
      size: Longest side of the result, pixels.

    Returns:
      RGB in [0, 1].
    """
    autoencoders = load_autoencoders(next(iter(BUNDLED)))
    known = {"", *(autoencoders[level].layer for level in LEVELS)}
    mix = {layer: weights for layer, weights in guidance.mix.items() if layer in known}
    one_pass = OnePass(autoencoders, styles, Instant(), size=size)
    return one_pass.paint_guided(content, styles, replace(guidance, mix=mix))[..., :3]


class OnePass:
    """Paints pictures in some styles, one pass each; styles are summarized once for each size.

    Args:
      autoencoders: By level.
      styles: The style images.
      method: Levels, transform and alpha.
      size: Longest side of the result, pixels; None: the content's.
      style_size: Longest side of the style images; None: that of the result.
      style_mix: Weights of the styles, or of single levels' layers by name.
      style_masks: For each style which part of it counts.

    Raises:
      ValueError: If there are no decoders, or none for a level, or the number of weights is not
        that of the styles.
    """

    def __init__(
        self,
        autoencoders: dict[int, Autoencoder],
        styles: Sequence[StyleImage],
        method: Instant,
        *,
        size: int | None = None,
        style_size: int | None = None,
        style_mix: StyleMix | None = None,
        style_masks: Sequence[ArrayLike] = (),
    ) -> None:
        if not autoencoders:
            raise ValueError(
                "decoders is empty, expected an autoencoder for each level: leave it out for those "
                "that ship"
            )
        if missing := [level for level in method.levels if level not in autoencoders]:
            raise ValueError(
                f"there is no decoder for level {missing[0]}, only for "
                f"{', '.join(map(str, autoencoders))}: leave it out of levels"
            )
        self.levels = tuple(autoencoders[level] for level in method.levels)
        self.params = tuple((level.encoder.params, level.params) for level in self.levels)
        self.method, self.size, self.style_size = method, size, style_size
        self.styles, self.style_mix, self.style_masks = styles, style_mix, style_masks
        count = max(len(styles), len(style_masks))
        self._mixture(Guidance(check_mix(style_mix, count)), count)
        self._summaries: dict[tuple[str, Size], tuple[Summary, ...]] = {}

    @property
    def width(self) -> int:
        """Channels of the largest maps."""
        return int(self.params[0][0]["conv1_1"]["kernel"].shape[-1])

    @default_numerics()
    def paint(self, content: ArrayLike, *, masks: Sequence[ArrayLike] = ()) -> Picture:
        """Paint a picture.

        Args:
          content: ``(H, W, 3)`` RGB in [0, 1], or with a fourth channel, its opacity.
          masks: Regions of the content, one for each style; or any number for one style.

        Raises:
          TypeError: If the picture or a mask holds integers.
          ValueError: If one cannot be used.
        """
        image = StyleImage(check_picture("content", content, opacity=True))
        styles, guidance = make_guidance(
            image,
            self.styles,
            style_mix=self.style_mix,
            masks=masks,
            style_masks=self.style_masks,
        )
        return self.paint_guided(image.image, styles, guidance)

    def paint_guided(
        self, content: Picture, styles: Sequence[StyleImage], guidance: Guidance
    ) -> Picture:
        """Paint a picture whose styles are laid out.

        Args:
          content: ``(H, W, 3)`` RGB in [0, 1].
          styles: The style images, one for each column of the guidance's mixture.
          guidance: Where each style goes.
        """
        schedule = make_schedule(
            content.shape[:2],
            [style.image.shape[:2] for style in styles],
            SCALES,
            size=self.size,
            style_size=self.style_size,
        )
        height, width = schedule.size
        framed = _framed(np.clip(resize(content, schedule.size), 0, 1))
        top, left = (framed.shape[0] - height) // 2, (framed.shape[1] - width) // 2
        with lapack_on_one_thread():
            painted = np.asarray(
                transfer(
                    self.levels,
                    self.method.transform,
                    self.params,
                    jnp.asarray(framed),
                    self._mixed(styles, schedule.scales[-1].styles, guidance),
                    jnp.float32(self.method.alpha),
                    self._regions(guidance, schedule.size, framed.shape[:2]),
                )
            )
        return guidance.kept(painted[top : top + height, left : left + width])

    def _mixed(
        self, styles: Sequence[StyleImage], sizes: Sequence[Size], guidance: Guidance
    ) -> tuple[Summary, ...]:
        """Return for every level the mixed summaries of each region."""

        def mix(weights: NDArray[np.float32], *leaves: jax.Array) -> jax.Array:
            return jnp.tensordot(weights, jnp.stack(leaves), 1, precision=PRODUCTS["float32"])

        by_style = [self._summary(*pair) for pair in zip(styles, sizes, strict=True)]
        mixture = self._mixture(guidance, len(styles))
        return tuple(
            jax.tree.map(partial(mix, weights), *summaries)
            for weights, summaries in zip(mixture, zip(*by_style, strict=True), strict=True)
        )

    def _mixture(self, guidance: Guidance, styles: int) -> NDArray[np.float32]:
        """Return the share of each style by level and region, ``(L, R, S)``."""
        layers = [level.layer for level in self.levels]
        mixture = guidance.mixture(self.levels[0].encoder, layers, styles)
        return mixture / mixture.sum(axis=-1, keepdims=True)

    def _summary(self, style: StyleImage, size: Size) -> tuple[Summary, ...]:
        key = style.digest, size
        if key not in self._summaries:
            for level in self.levels:
                if min(size) < level.least:
                    raise ValueError(
                        f"style is {size[1]}x{size[0]} but level {level.level} needs at least "
                        f"{level.least} pixels per side: enlarge it or leave out the level"
                    )
            mask = None if style.mask is None else sized(style.mask, size)
            weights = tuple(
                None if mask is None else jnp.asarray(position_weights(mask, map_size))
                for map_size in self._map_sizes(size)
            )
            image = jnp.asarray(np.clip(resize(style.image, size), 0, 1))
            self._summaries[key] = summarize_style(
                self.levels, self.method.transform, self.params, image, weights
            )
        return self._summaries[key]

    def _map_sizes(self, size: Size) -> list[Size]:
        """Return the sizes of the feature maps of all levels for a picture of some size."""
        return [layer_sizes(of.encoder, size, (of.layer,))[of.layer] for of in self.levels]

    def _regions(self, guidance: Guidance, size: Size, frame: Size) -> tuple[Regions | None, ...]:
        if not guidance.masks and guidance.opacity is None:
            return (None,) * len(self.levels)

        def framed(mask: Mask) -> Mask:
            return _framed(sized(mask, size)[..., None])[..., 0]

        regions, _ = guidance.regions(framed, frame)
        return tuple(
            Regions(
                jnp.asarray(np.stack([sized(region, map_size) for region in regions])),
                jnp.asarray(np.stack([position_weights(region, map_size) for region in regions])),
            )
            for map_size in self._map_sizes(frame)
        )


def _framed(picture: Picture) -> Picture:
    """Mirror a picture at its borders by MARGIN pixels or more, to multiples of MULTIPLE."""
    spare = [-(-(n + 2 * MARGIN) // MULTIPLE) * MULTIPLE - n for n in picture.shape[:2]]
    widths = [(n // 2, n - n // 2) for n in spare]
    return np.pad(picture, [*widths, (0, 0)], mode="symmetric")


@contextmanager
def lapack_on_one_thread() -> Iterator[None]:
    """Keep LAPACK on one thread within the block, and restore its threads afterwards.

    On a CPU XLA's ``eigh`` is SciPy's LAPACK. Matrices as small as covariances of feature maps gain
    nothing from its threads, and for a while after each call these keep spinning on the cores that
    the next convolutions need: a quarter of a pass on two cores (figures in docs/performance.md).

    The number of threads is the process's, so on CPUs only one Python thread at a time enters the
    block; others wait. On accelerators, which have an ``eigh`` of their own, nothing is done. JAX
    returns before it has finished: wait for results inside the block.
    """
    if default_device().platform != "cpu":
        yield
        return
    with _lapack_lock, threadpool_limits(1, user_api="blas"):
        yield

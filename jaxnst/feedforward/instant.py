"""Style transfer in one pass, for any style, with the decoders of a loss network."""

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import Lock

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from jaxnst._numerics import default_numerics
from jaxnst.feedforward.decoders import BUNDLED, Autoencoder, load_autoencoders
from jaxnst.feedforward.settings import LEVELS, Instant, Transform, as_levels
from jaxnst.feedforward.wct import Regions, Summary, summarize_style, transfer
from jaxnst.image import resize
from jaxnst.image.exchange import ImageLike, as_image
from jaxnst.networks.precision import PRODUCTS
from jaxnst.networks.registry import LossNetwork
from jaxnst.optim.sharding import default_device
from jaxnst.recipes.schema import ONE_PASS, Scales
from jaxnst.transfer.guidance import Guidance, StyleMix, check_mix, make_guidance
from jaxnst.transfer.masks import Mask, position_weights, sized
from jaxnst.transfer.pyramid import Size, make_schedule
from jaxnst.transfer.result import Picture
from jaxnst.transfer.style_cache import StyleImage, style_images

SCALES = Scales(several=False)
"""One scale. Sides of styles are rounded as for the optimization, so that few programs compile."""

MARGIN, MULTIPLE = 8, 32
"""Least number of pixels mirrored around the picture, and the divisor of its sides after that:
decoders are less accurate near a border, and fewer shapes have to be compiled."""

_lapack_lock = Lock()


@default_numerics()
def instant(
    content: "ImageLike",
    styles: "ImageLike | Sequence[ImageLike]",
    *,
    network: str | LossNetwork = ONE_PASS,
    decoders: dict[int, Autoencoder] | str | os.PathLike[str] | None = None,
    alpha: int | float = Instant.alpha,
    levels: Sequence[int] = LEVELS,
    transform: Transform = Instant.transform,
    size: int | None = None,
    style_size: int | None = None,
    style_mix: StyleMix | None = None,
    masks: "Sequence[ImageLike]" = (),
    style_masks: "Sequence[ImageLike]" = (),
) -> NDArray[np.float32]:
    """Paint a content image in the style of one or several style images, in one pass.

    Args:
      content: A path, a Pillow image, or an array ``(H, W, 3)`` of RGB in [0, 1] or uint8. A fourth
        channel is its opacity.
      styles: One such image or several, of any sizes; transparent parts do not count.
      network: A VGG with decoders, or the name of one.
      decoders: Autoencoders by level (:func:`.load_autoencoders`), or a file of them; None: the
        bundled ones.
      alpha: Strength of the style, from 0, the content after encoding and decoding, to 1.
      levels: Levels in the order in which they run; 4 changes the largest shapes, 1 only colors.
        Li et al. begin with 5.
      transform: ``whiten`` matches mean and covariance of the feature maps (Li et al. 2017),
        ``moments`` mean and deviation of every channel (Huang and Belongie 2017).
      size: Longest side of the result, pixels; None: that of the content.
      style_size: Longest side of the style images; None: that of the result. A style is never
        enlarged, except for up to 3 % by rounding its sides.
      style_mix: Weights of the styles, or by name of single levels' layers, as in
        :func:`jaxnst.stylize`: ``{"": (1, 0), "relu1_1": (0, 1)}``.
      masks: Regions of the content, as in :func:`jaxnst.stylize`; outside of all masks, the content
        is only encoded and decoded.
      style_masks: For each style, which part of it counts.

    Returns:
      ``(H, W, 3)`` RGB in [0, 1]; ``(H, W, 4)`` with its opacity where the content is transparent.

    Raises:
      FileNotFoundError: There is no such picture or file of decoders.
      TypeError: A picture or mask holds integers other than uint8.
      ValueError: A picture has the wrong shape or values, or is too small; an argument is out of
        range; there is no decoder for a level; or the file is not one of decoders.
      KeyError: A network or layer does not exist.
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


def start_in_one_pass(
    content: Picture, styles: Sequence[StyleImage], guidance: Guidance, *, size: int
) -> Picture:
    """Make the initial image of an optimization with the bundled decoders; RGB in [0, 1].

    Weights of layers that are not levels are ignored.
    """
    autoencoders = load_autoencoders(next(iter(BUNDLED)))
    known = {"", *(autoencoders[level].layer for level in LEVELS)}
    mix = {layer: weights for layer, weights in guidance.mix.items() if layer in known}
    one_pass = OnePass(autoencoders, styles, Instant(), size=size)
    return one_pass.paint_guided(content, styles, replace(guidance, mix=mix))[..., :3]


class OnePass:
    """Paints pictures in the same styles, which are summarized only once for each size.

    ``size`` and ``style_size`` are longest sides, pixels; None: that of the content, and of the
    result. ``style_mix`` has the weights of the styles, or weights by the name of a level's layer;
    ``style_masks`` says for each style which part of it counts.

    Raises:
      ValueError: There is no decoder for a level, or not one weight for each style.
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
        style_masks: "Sequence[ImageLike]" = (),
    ) -> None:
        if not autoencoders:
            raise ValueError(
                "decoders is empty, expected an autoencoder for each level: leave it out for the "
                "bundled ones"
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
        """Channels of the largest feature maps."""
        return int(self.params[0][0]["conv1_1"]["kernel"].shape[-1])

    @default_numerics()
    def paint(self, content: "ImageLike", *, masks: "Sequence[ImageLike]" = ()) -> Picture:
        """Paint a picture.

        Args:
          content: Its path, a Pillow image, or an array ``(H, W, 3)`` of RGB or ``(H, W, 4)`` with
            its opacity, in [0, 1] or uint8.
          masks: Regions of the content, one for each style; or any number for one style.

        Raises:
          FileNotFoundError: There is no such file.
          TypeError: The picture or a mask holds integers other than uint8.
          ValueError: The picture or a mask cannot be used.
        """
        image = StyleImage(as_image("content", content, opacity=True))
        styles, guidance = make_guidance(
            image, self.styles, style_mix=self.style_mix, masks=masks, style_masks=self.style_masks
        )
        return self.paint_guided(image.image, styles, guidance)

    def paint_guided(
        self, content: Picture, styles: Sequence[StyleImage], guidance: Guidance
    ) -> Picture:
        """Paint a picture, ``(H, W, 3)`` RGB in [0, 1], with styles laid out by guidance."""
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
        """Mix the styles' summaries for every level and region."""

        def mix(weights: NDArray[np.float32], *leaves: jax.Array) -> jax.Array:
            return jnp.tensordot(weights, jnp.stack(leaves), 1, precision=PRODUCTS["float32"])

        by_style = [self._summary(*pair) for pair in zip(styles, sizes, strict=True)]
        mixture = self._mixture(guidance, len(styles))
        return tuple(
            jax.tree.map(partial(mix, weights), *summaries)
            for weights, summaries in zip(mixture, zip(*by_style, strict=True), strict=True)
        )

    def _mixture(self, guidance: Guidance, styles: int) -> NDArray[np.float32]:
        """Return the shares of the styles by level and region, ``(L, R, S)``."""
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
        """Return the sizes of the feature maps of all levels for the size of a picture."""
        return [level.encoder.map_sizes(size, (level.layer,))[level.layer] for level in self.levels]

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
    """Pad a picture by at least MARGIN mirrored pixels, to sides that are multiples of MULTIPLE."""
    spare = [-(-(n + 2 * MARGIN) // MULTIPLE) * MULTIPLE - n for n in picture.shape[:2]]
    widths = [(n // 2, n - n // 2) for n in spare]
    return np.pad(picture, [*widths, (0, 0)], mode="symmetric")


@contextmanager
def lapack_on_one_thread() -> Iterator[None]:
    """Limit LAPACK to one thread within the block.

    On a CPU, XLA's ``eigh`` is SciPy's LAPACK. Matrices as small as covariances of features gain
    nothing from its threads, which then spin for a while on the cores that the next convolutions
    need: a quarter of the time of a pass on two cores (figures in docs/performance.md).

    The limit applies to the whole process, so on CPUs only one Python thread at a time enters the
    block; others wait. JAX returns before it has finished: wait for results inside the block.
    """
    if default_device().platform != "cpu":
        yield
        return
    importlib.import_module("scipy.linalg.cython_lapack")  # what is not loaded is not limited
    with _lapack_lock, threadpool_limits(1, user_api="blas"):
        yield

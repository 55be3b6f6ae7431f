"""Whitening and colouring from pictures to pictures: sizes, frames, styles, regions."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike, NDArray

from jaxnst._checks import check_picture
from jaxnst._numerics import own_numerics
from jaxnst.feedforward.decoders import Autoencoder
from jaxnst.feedforward.lapack import on_one_thread
from jaxnst.feedforward.settings import Instant
from jaxnst.feedforward.transforms import Summary
from jaxnst.feedforward.wct import Regions, summarize_style, transfer
from jaxnst.image import resize
from jaxnst.networks.precision import PRODUCTS
from jaxnst.recipes.schema import Scales
from jaxnst.transfer.guidance import Guidance, StyleMix, check_mix, make_guidance
from jaxnst.transfer.masks import Mask, layer_sizes, position_weights, sized
from jaxnst.transfer.pyramid import Size, make_schedule
from jaxnst.transfer.result import Picture
from jaxnst.transfer.style_cache import StyleImage

SCALES = Scales(several=False)
"""One scale; styles' sides are rounded as in the optimising path, so that programs are few."""

MARGIN, MULTIPLE = 8, 32
"""Pixels mirrored around the picture, at least, and what its sides are then a multiple of: the
decoders are less sure of themselves at a border, and there are fewer shapes to compile for."""


class OnePass:
    """Paints pictures in the manner of some styles, one pass each; styles are looked at once.

    Args:
      autoencoders: By level.
      styles: The style images.
      method: How.
      size: As :func:`instant`.
      style_size: As there.
      style_mix: As there.
      style_masks: As there.

    Raises:
      ValueError: If there are no decoders, or none for a level, or weights do not go with the
        styles.
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
        self.style_mix, self.style_masks = style_mix, style_masks
        self.styles = styles
        count = max(len(self.styles), len(style_masks))
        self._mixture(Guidance(check_mix(style_mix, count)), count)
        self._summaries: dict[tuple[str, Size], tuple[Summary, ...]] = {}

    @property
    def width(self) -> int:
        """Channels of the largest maps."""
        return int(self.params[0][0]["conv1_1"]["kernel"].shape[-1])

    @own_numerics()
    def paint(
        self, contents: Sequence[ArrayLike], *, masks: Sequence[ArrayLike] = ()
    ) -> list[Picture]:
        """Paint pictures that have one shape and size side by side.

        Args:
          contents: ``(H, W, 3)`` RGB in [0, 1], or with a fourth channel, their opacity.
          masks: As :func:`instant`, the same for all.

        Raises:
          TypeError: If a picture or a mask holds integers.
          ValueError: If one cannot be used, or they differ in size.
        """
        wholes = [StyleImage(check_picture("content", c, opacity=True)) for c in contents]
        if len({whole.image.shape for whole in wholes}) != 1:
            raise ValueError("pictures painted side by side differ in size, expected one size")
        laid_out = [
            make_guidance(
                whole,
                self.styles,
                style_mix=self.style_mix,
                masks=masks,
                style_masks=self.style_masks,
            )
            for whole in wholes
        ]
        guidances = [guidance for _, guidance in laid_out]
        return self.through([whole.image for whole in wholes], laid_out[0][0], guidances)

    def through(
        self,
        contents: Sequence[Picture],
        styles: Sequence[StyleImage],
        guidances: Sequence[Guidance],
    ) -> list[Picture]:
        """Paint pictures of one size, with the styles of each laid out.

        Args:
          contents: ``(H, W, 3)`` RGB in [0, 1].
          styles: The style images, the same for all.
          guidances: Which style goes where in each of the pictures; one mixture for all.
        """
        shapes = [style.image.shape[:2] for style in styles]
        schedule = make_schedule(
            contents[0].shape[:2], shapes, SCALES, size=self.size, style_size=self.style_size
        )
        (above, before), inner = _frame(schedule.size)
        framed = [_framed(np.clip(resize(c, schedule.size), 0, 1), inner) for c in contents]
        with on_one_thread():
            painted = np.asarray(
                transfer(
                    self.levels,
                    self.method.transform,
                    self.params,
                    jnp.stack(framed),
                    self._mixed(styles, schedule.scales[-1].styles, guidances[0]),
                    jnp.float32(self.method.alpha),
                    self._regions(guidances, schedule.size, inner),
                )
            )
        height, width = schedule.size
        inside = painted[:, above : above + height, before : before + width]
        pairs = zip(inside, guidances, strict=True)
        return [guidance.kept(picture) for picture, guidance in pairs]

    def _mixed(
        self, parts: Sequence[StyleImage], sizes: Sequence[Size], guidance: Guidance
    ) -> tuple[Summary, ...]:
        """Return for every level the styles of each region."""
        mixture = self._mixture(guidance, len(parts))
        each = [self._summary(part, size) for part, size in zip(parts, sizes, strict=True)]
        return tuple(
            jax.tree.map(lambda *of, m=of_level: _mixed(m, of), *summaries)
            for of_level, summaries in zip(mixture, zip(*each, strict=True), strict=True)
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
                None if mask is None else jnp.asarray(position_weights(mask, of_layer))
                for of_layer in self._sizes(size)
            )
            image = jnp.asarray(np.clip(resize(style.image, size), 0, 1))
            self._summaries[key] = summarize_style(
                self.levels, self.method.transform, self.params, image, weights
            )
        return self._summaries[key]

    def _sizes(self, size: Size) -> list[Size]:
        """Return the sizes of the feature maps of all levels for a picture of some size."""
        return [layer_sizes(of.encoder, size, (of.layer,))[of.layer] for of in self.levels]

    def _regions(
        self, several: Sequence[Guidance], size: Size, inner: Size
    ) -> tuple[Regions | None, ...]:
        if not any(guidance.masks or guidance.opacity is not None for guidance in several):
            return (None,) * len(self.levels)

        def here(mask: Mask) -> Mask:
            return _framed(sized(mask, size)[..., None], inner)[..., 0]

        each = [guidance.regions(here, inner)[0] for guidance in several]
        return tuple(
            Regions(
                _stacked(each, partial(sized, size=of_layer)),
                _stacked(each, partial(position_weights, size=of_layer)),
            )
            for of_layer in self._sizes(inner)
        )


def _mixed(weights: NDArray[np.float32], parts: Sequence[Array]) -> Array:
    """Add up what was found of each style, weighted."""
    return jnp.tensordot(weights, jnp.stack(parts), 1, precision=PRODUCTS["float32"])


def _stacked(
    several: Sequence[Float[np.ndarray, "r _ _"]], here: Callable[[Mask], Mask]
) -> Float[Array, "b r _ _"]:
    """Bring all regions of all pictures somewhere."""
    return jnp.asarray(np.stack([[here(region) for region in of] for of in several]))


def _frame(size: Size) -> tuple[tuple[int, int], Size]:
    """Return where a picture of some size begins in its frame, and the frame's size."""
    height, width = (-(-(side + 2 * MARGIN) // MULTIPLE) * MULTIPLE for side in size)
    return ((height - size[0]) // 2, (width - size[1]) // 2), (height, width)


def _framed(picture: Picture, inner: Size) -> Picture:
    """Put a picture into its frame, mirrored around it."""
    spare = [full - side for full, side in zip(inner, picture.shape[:2], strict=True)]
    widths = [(n // 2, n - n // 2) for n in spare]
    return np.pad(picture, [*widths, (0, 0)], mode="symmetric")

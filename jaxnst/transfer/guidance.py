"""Spatial guidance: masks, transparency and mixtures of styles.

R regions of the content are painted with mixtures of S styles. Without masks there is one region.
One style is used for every mask, and one mask for all styles; otherwise the numbers are equal.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from jaxnst._checks import counted, not_negative, refuse_one_array
from jaxnst.image import resize
from jaxnst.image.exchange import ImageLike
from jaxnst.losses.objective import EVERYWHERE, Objective, SpatialGuidance
from jaxnst.networks.color_space import encode
from jaxnst.networks.registry import LossNetwork
from jaxnst.transfer.masks import (
    LEAST,
    VISIBLE,
    Mask,
    check_mask,
    disjoint,
    position_weights,
    sized,
)
from jaxnst.transfer.pyramid import Size
from jaxnst.transfer.result import Picture
from jaxnst.transfer.style_cache import StyleImage

StyleMix = Sequence[int | float] | Mapping[str, Sequence[int | float]]
"""A weight for each style; or by layer, with ``""`` for those that are not named."""


@dataclass(frozen=True, eq=False)
class Guidance:
    """How a run's styles are laid out, before any size is known.

    Attributes:
      mix: Weights of the styles by layer; those under ``""`` are for layers that are not named.
        Without either, equal parts.
      masks: Of the regions; none: everywhere.
      opacity: Of the content; None: opaque.
      hidden: The content's colors as they were given, even where it is transparent.
    """

    mix: Mapping[str, tuple[float, ...]]
    masks: tuple[Mask, ...] = ()
    opacity: Mask | None = None
    hidden: Picture | None = None

    @property
    def structure(self) -> tuple[int, bool]:
        """What decides a program: how many masks there are, and whether pixels are kept."""
        return len(self.masks), self.opacity is not None

    def mixture(
        self, network: LossNetwork, layers: Sequence[str], styles: int
    ) -> NDArray[np.float32]:
        """Return how much of each style there is by style layer and region, ``(L, R, S)``.

        Raises:
          KeyError: If the network has no layer of a name.
          ValueError: If a layer that is named is not a style layer.
        """
        regions = max(1, len(self.masks))
        if 1 < regions == styles:
            return np.tile(np.eye(styles, dtype=np.float32), (len(layers), 1, 1))
        named = {network.resolve(k): v for k, v in self.mix.items() if k}
        if unknown := named.keys() - set(layers):
            raise ValueError(
                f"styles are mixed at {sorted(unknown)[0]}, which is none of the style layers "
                f"{', '.join(layers)}"
            )
        common = self.mix.get("", (1.0,) * styles)
        rows = [named.get(layer, common) for layer in layers]
        each = np.reshape(np.asarray(rows, np.float32), (len(rows), 1, styles))
        return np.repeat(each, regions, axis=1)

    def refuse_for(self, objective: Objective, styles: Sequence[StyleImage]) -> None:
        """Raise ValueError if an objective cannot be guided in this way."""
        masked = any(style.mask is not None for style in styles)
        if objective.by_neighbors and (self.structure != (0, False) or self.mix or masked):
            raise ValueError(
                "style statistic 'neighbors' finds the nearest in whole pictures and takes no "
                "masks, style mix or transparency: leave them out, or take another recipe"
            )

    def where(self, objective: Objective, content: Picture) -> SpatialGuidance:
        """Lay the regions out for the content picture at some size."""
        if not self.masks and self.opacity is None:
            return EVERYWHERE
        network, inner = objective.network, content.shape[:2]
        regions, opaque = self.regions(lambda mask: sized(mask, inner), inner)
        shares = regions.mean(axis=(1, 2)) / max(opaque.mean(), LEAST)
        sizes = network.map_sizes(inner, objective.layers)
        style = {
            name: np.stack([position_weights(region, sizes[name]) for region in regions])
            for name in objective.style_layers
        }
        if self.opacity is None:
            return SpatialGuidance({}, style, shares.astype(np.float32), None, None)
        content_weights = {
            name: position_weights(opaque, sizes[name], shrink=False)
            for name in objective.content_layers
        }
        free = (opaque >= VISIBLE).astype(np.float32)
        still = np.asarray(encode(jnp.asarray(content), objective.space))
        return SpatialGuidance(content_weights, style, shares.astype(np.float32), free, still)

    def regions(
        self, here: Callable[[Mask], Mask], size: Size
    ) -> tuple[Float[np.ndarray, "r _ _"], Mask]:
        """Return the regions' shares of every pixel, and the opacity, at some size.

        ``here`` brings a mask to that size.
        """
        whole = np.ones(size, np.float32)
        opaque = whole if self.opacity is None else here(self.opacity)
        return disjoint([here(mask) for mask in self.masks] or [whole]) * opaque, opaque

    def covered(self, size: Size) -> Mask:
        """Return how much of every pixel the masks cover, at some size."""
        shares = disjoint([sized(mask, size) for mask in self.masks])
        return shares.sum(axis=0, dtype=np.float32)

    def kept(self, painted: Picture) -> Picture:
        """Put the content back where it is transparent, and add its opacity as a fourth channel."""
        if self.opacity is None or self.hidden is None:
            return painted
        size = painted.shape[:2]
        opacity = sized(self.opacity, size)
        opacity[opacity < VISIBLE] = 0
        still = np.clip(resize(self.hidden, size), 0, 1)
        picture = np.where(opacity[..., None] > 0, painted, still)
        return np.concatenate([picture, opacity[..., None]], axis=-1)


UNGUIDED = Guidance({})
"""All styles everywhere, in equal parts."""


def make_guidance(
    content: StyleImage,
    styles: Sequence[StyleImage],
    *,
    style_mix: StyleMix | None = None,
    masks: "Sequence[ImageLike]" = (),
    style_masks: "Sequence[ImageLike]" = (),
) -> tuple[list[StyleImage], Guidance]:
    """Check masks, transparency and mixtures, and make the guidance of a run.

    The content comes with its opacity. Masks are as :func:`jaxnst.transfer.masks.check_mask` takes
    them; ``style_masks`` has for each style the part of it that counts.

    Returns:
      The styles with their masks, a single style once for each of its masks; and the guidance.

    Raises:
      TypeError: If a mask holds integers.
      ValueError: If a mask cannot be used, or numbers of masks, styles and weights do not agree.
    """
    parts = list(styles)
    for name, several in (("masks", masks), ("style_masks", style_masks)):
        refuse_one_array(name, several, 2, "a sequence of masks: [mask]")
    if len(style_masks):
        if len(parts) == 1:
            parts = parts * len(style_masks)
        if len(parts) != len(style_masks):
            raise ValueError(
                f"there are {len(style_masks)} style masks for {len(styles)} styles, expected one "
                "for each style, or any number for one style"
            )
        parts = [
            style.masked(check_mask(f"style mask {i}", mask, style.image.shape[:2]))
            for i, (style, mask) in enumerate(zip(parts, style_masks, strict=True), 1)
        ]
    if len(masks) > 1 and len(parts) not in (1, len(masks)):
        raise ValueError(
            f"there are {len(masks)} masks for {len(parts)} styles, expected a style for each "
            "mask, or one style, or one mask"
        )
    if len(masks) > 1 and len(parts) > 1 and style_mix is not None:
        raise ValueError("each mask has its own style: give either several masks or a style mix")
    opacity, size = content.mask, content.image.shape[:2]
    if opacity is not None and opacity.max() < VISIBLE:
        raise ValueError("content image is transparent everywhere: nothing to paint")
    for i, style in enumerate(parts, 1):
        if style.mask is not None and style.mask.max() < VISIBLE:
            raise ValueError(
                f"style {i} is transparent everywhere, or wherever its mask counts: give another "
                "picture or mask"
            )
    regions = tuple(check_mask(f"mask {i}", mask, size) for i, mask in enumerate(masks, 1))
    for i, mask in enumerate(regions, 1):
        if opacity is not None and (sized(mask, size) * opacity).max() < VISIBLE:
            raise ValueError(f"mask {i} covers only what is transparent: nothing to paint")
    hidden = None if opacity is None else content.given
    return parts, Guidance(check_mix(style_mix, len(parts)), regions, opacity, hidden)


def check_mix(given: StyleMix | None, styles: int) -> dict[str, tuple[float, ...]]:
    """Bring weights of styles into the form of :class:`Guidance`.

    Raises:
      ValueError: If there is not one for each style, one is negative, or all are 0.
    """
    if given is None:
        return {}
    by_layer = given if isinstance(given, Mapping) else {"": given}
    for layer, weights in by_layer.items():
        at = f" at {layer}" if layer else ""
        if not hasattr(weights, "__len__") or len(weights) != styles:
            raise ValueError(
                f"style mix{at} is {weights}, expected {counted(styles, 'weight')}, one for each "
                "style"
            )
        for weight in weights:
            not_negative(f"style mix{at}", float(weight))
        if sum(weights) <= 0:
            raise ValueError(f"style mix{at} is 0 for every style, expected one above 0")
    return {layer: tuple(map(float, weights)) for layer, weights in by_layer.items()}

"""What a run computes from its pictures before it begins: targets, and summaries of the styles.

The summaries of a style follow from the style, its size, and the network's parameters. Runs that
share a :class:`StyleCache` compute those of one style and size once. There are separate programs
for the content at a size, for a style at a size, and a small one that mixes styles and prepares
them, whatever sizes they had.
"""

import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from jaxnst._checks import style_pictures
from jaxnst._files import digest_of
from jaxnst._types import Image
from jaxnst.image import fill_hidden, resample
from jaxnst.image.color import Pixels
from jaxnst.image.exchange import ImageLike, as_image
from jaxnst.losses.objective import (
    EVERYWHERE,
    AnyTargets,
    Objective,
    SpatialGuidance,
    Targets,
    content_targets,
    make_targets,
    neighbor_shapes,
    style_summaries,
    style_targets,
)
from jaxnst.networks.registry import Params
from jaxnst.transfer.masks import Mask, position_weights, sized
from jaxnst.transfer.pyramid import Size

STORE_BYTES = 256 * 2**20
"""Most that a store keeps: about a hundred styles of a VGG at one size."""


class StyleImage:
    """A style image, identified by its digest.

    Args:
      image: ``(H, W, 3)`` RGB in [0, 1]; a fourth channel, its opacity, becomes the mask. It must
        not be changed afterwards.

    Attributes:
      given: Its colors as they were given.
      image: The same, with hidden pixels in the colors around them.
      mask: How much each pixel counts; None: all alike.
    """

    def __init__(self, image: Pixels) -> None:
        self.given, opacity = image[..., :3], image[..., 3:]
        self.image: Pixels = self.given
        self.mask: Mask | None = None
        if opacity.size and opacity.min() < 1:
            self.image, self.mask = fill_hidden(image), opacity[..., 0]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its shape and values, and of its mask's."""
        own = {"image": self.given} | ({} if self.mask is None else {"mask": self.mask})
        return digest_of(own)

    def masked(self, mask: Mask) -> "StyleImage":
        """Return the same picture with a mask, multiplied by its own if it has one."""
        style, size = StyleImage(self.given), self.image.shape[:2]
        style.image = self.image
        style.mask = mask if self.mask is None else sized(mask, size) * self.mask
        return style


def style_images(styles: "ImageLike | Sequence[ImageLike]") -> list[StyleImage]:
    """Check and convert one style image or several, with the errors of :func:`.as_image`."""
    return [
        StyleImage(as_image(name, style, opacity=True)) for name, style in style_pictures(styles)
    ]


class StyleCache:
    """A cache of styles' summaries, on the host; threads may share it.

    Beyond ``most_bytes`` the least recently used are dropped.
    """

    def __init__(self, *, most_bytes: int = STORE_BYTES) -> None:
        self._most, self._bytes = most_bytes, 0
        self._kept: OrderedDict[Hashable, dict[str, Any]] = OrderedDict()
        self._owners: dict[int, list[weakref.ref[Any]]] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def summaries(
        self,
        objective: Objective,
        params: Params,
        style: StyleImage,
        size: Size,
        *,
        tuning: Hashable = None,
    ) -> dict[str, Any]:
        """Return a style's summaries by layer at a size, computed if need be.

        ``params`` are the network's parameters, or what a run has made of them: equal ``tuning``
        means equal parameters.
        """
        network = objective.network
        looked = objective.style_layers, objective.statistics
        what = network.module, network.preprocessing, looked
        with self._lock:  # so that threads that want the same compute it once
            key = what, self._owner(network.params), tuning, style.digest, size
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            image = jnp.asarray(resample(style.image, size))
            weights = style_weights(objective, style, size)
            found = jax.device_get(summaries_of(objective, params, image, weights=weights))
            self._kept[key] = found
            self._bytes += _bytes(found)
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= _bytes(self._kept.popitem(last=False)[1])
            return found

    def _owner(self, params: Params) -> int:
        """Number a network's parameters without keeping them alive; forget those that are gone."""
        leaves = jax.tree.leaves(params)
        alive = {n: r for n, r in self._owners.items() if all(ref() is not None for ref in r)}
        self._owners = alive
        for number, refs in alive.items():
            if [id(ref()) for ref in refs] == [id(leaf) for leaf in leaves]:
                return number
        number = next(self._numbers)
        alive[number] = [weakref.ref(leaf) for leaf in leaves]
        return number


def _bytes(summaries: dict[str, Any]) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(summaries))


def style_weights(objective: Objective, style: StyleImage, size: Size) -> dict[str, Mask] | None:
    """Say how much the positions of each style layer count; None: all alike."""
    if style.mask is None:
        return None
    mask = sized(style.mask, size)
    sizes = objective.network.map_sizes(size, objective.style_layers)
    return {name: position_weights(mask, of_layer) for name, of_layer in sizes.items()}


targets_of = jax.jit(make_targets, static_argnums=0)
"""Computes the targets of a scale, compiled."""

summaries_of = jax.jit(style_summaries, static_argnums=0)
"""Summarizes one style, compiled."""

mixed_styles = jax.jit(style_targets, static_argnums=0)
"""Mixes styles and prepares them to be compared with, compiled."""


def target_shapes(
    objective: Objective,
    params: Params,
    size: Size,
    *,
    where: SpatialGuidance = EVERYWHERE,
    again: bool = False,
) -> AnyTargets:
    """Return the targets of a scale with shapes in place of arrays; nothing is computed.

    ``again`` says whether the scale before has that size, too
    (:attr:`jaxnst.transfer.pyramid.Scale`).
    """
    if objective.by_neighbors:
        return neighbor_shapes(objective, size, by_layer=again)
    regions = 1 if where.shares is None else where.shares.shape[0]

    def targets(params: Params, image: Image) -> Targets:
        mixture = jnp.ones((len(objective.style_layers), regions, 1))
        styles = style_targets(
            objective, [style_summaries(objective, params, image)], mixture=mixture
        )
        return Targets(content_targets(objective, params, image), styles, style_unit=jnp.ones(()))

    image = jax.ShapeDtypeStruct((*size, 3), jnp.float32)  # type: ignore[no-untyped-call]
    return jax.eval_shape(targets, params, image)._replace(where=where)

"""What a run's pictures are turned into before it begins: targets, and styles' moments once only.

The moments of a style follow from the style, its size, and the network's parameters. Runs that
share a :class:`StyleStore` compute those of one style and size once. Programs are apart: one for
the content at a size, one for a style at a size, and a small one that mixes styles and prepares
them, whatever sizes they had.
"""

import hashlib
import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from concurrent.futures import Future
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst._types import Features, Image
from jaxnst.image import resize
from jaxnst.losses import Moments
from jaxnst.networks.registry import Params
from jaxnst.objective import Objective, Targets, content_targets, style_moments, style_targets
from jaxnst.schedule import Size
from jaxnst.srgb import Pixels

STORE_BYTES = 256 * 2**20
"""Most that a store keeps: some hundred styles of a VGG at one size."""


class StyleImage:
    """A style image that tells itself from others by its digest.

    Args:
      image: ``(H, W, 3)`` RGB in [0, 1]. It must not change any more.
    """

    def __init__(self, image: Pixels) -> None:
        self.image = image

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its shape and values."""
        found = hashlib.sha256(repr(self.image.shape).encode())
        found.update(np.ascontiguousarray(self.image).data)
        return found.hexdigest()


class StyleStore:
    """Moments of styles that were computed before, on the host; threads may share it.

    Args:
      most_bytes: The least recently used are dropped beyond that.
    """

    def __init__(self, *, most_bytes: int = STORE_BYTES) -> None:
        self._most, self._bytes = most_bytes, 0
        self._kept: OrderedDict[Hashable, Future[dict[str, Moments]]] = OrderedDict()
        self._owners: dict[int, list[weakref.ref[Any]]] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def moments(
        self,
        objective: Objective,
        params: Params,
        style: StyleImage,
        size: Size,
        *,
        tuning: Hashable = None,
    ) -> dict[str, Moments]:
        """Return a style's moments by layer, computed if need be.

        Args:
          objective: Its network and style layers.
          params: The network's parameters, or what a run has made of them.
          style: The style image.
          size: That it is looked at, pixels.
          tuning: What was made of them: equal for parameters that are.
        """
        network = objective.network
        what = network.module, network.preprocessing, objective.style_layers
        with self._lock:
            key = what, self._owner(network.params), tuning, style.digest, size
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            else:
                mine = self._kept[key] = Future()
        if found is not None:
            return found.result()
        try:
            image = jnp.asarray(resize(style.image, size))
            made = jax.device_get(moments_of(objective, params, image))
        except BaseException as error:
            with self._lock:
                del self._kept[key]
            mine.set_exception(error)
            raise
        with self._lock:
            mine.set_result(made)
            self._bytes += _bytes(made)
            self._drop()
        return mine.result()

    def _owner(self, params: Params) -> int:
        """Number a network's parameters, without keeping them; what is gone is forgotten."""
        leaves = jax.tree.leaves(params)
        there = {n: r for n, r in self._owners.items() if all(ref() is not None for ref in r)}
        self._owners = there
        for number, refs in there.items():
            if [id(ref()) for ref in refs] == [id(leaf) for leaf in leaves]:
                return number
        number = next(self._numbers)
        there[number] = [weakref.ref(leaf) for leaf in leaves]
        return number

    def _drop(self) -> None:
        """Drop what was not used for longest; what is being computed stays."""
        for key in [key for key, found in self._kept.items() if found.done()][:-1]:
            if self._bytes <= self._most:
                return
            self._bytes -= _bytes(self._kept.pop(key).result())


def _bytes(moments: dict[str, Moments]) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(moments))


@partial(jax.jit, static_argnums=0)
def content_of(objective: Objective, params: Params, content: Image) -> Features:
    """Compute the content's features, compiled."""
    return content_targets(objective, params, content)


@partial(jax.jit, static_argnums=0)
def moments_of(objective: Objective, params: Params, style: Image) -> dict[str, Moments]:
    """Compute one style's moments, compiled."""
    return style_moments(objective, params, style)


@partial(jax.jit, static_argnums=0)
def mixed_styles(objective: Objective, several: Sequence[dict[str, Moments]]) -> dict[str, Any]:
    """Mix styles in equal shares, and prepare them to be compared with, compiled."""
    return style_targets(objective, several)


def blank_targets(objective: Objective, params: Params, size: Size) -> Targets:
    """Make targets of zeros for a picture of some size: a loop can be compiled with them."""

    def targets(image: Image) -> Targets:
        styles = style_targets(objective, [style_moments(objective, params, image)])
        return Targets(content_targets(objective, params, image), styles)

    shapes = jax.eval_shape(targets, jnp.zeros((*size, 3)))
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

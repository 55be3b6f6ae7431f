"""Sums over positions of feature maps, and their gradient, in tiles: exact, with little memory.

Windows of one size cover an image. Every position of every layer belongs to one window, which holds
all pixels that the position sees, so that its feature vector is that of the whole image: windows
overlap by the receptive field, lie inside the image, and begin at multiples of the deepest stride.
A network's own padding is seen at the image's border alone.

A first pass over the windows adds up the sums. Whatever is computed of the sums of the whole image
gives their gradient, with which a second pass computes each window's own gradient, and adds it,
overlaps included, to that of the image. Both are those of the whole image, up to rounding.
(Galerne, Raad, Lezama, Morel: Scaling Painting Style Transfer, 2024, who cut the overlap's gradient
off and need twice the overlap for it.)
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Int

from jaxnst._types import Features, Image
from jaxnst.networks.registry import LossNetwork, Params


class Positions(NamedTuple):
    """What belongs to the positions of a layer's feature map.

    Attributes:
      values: A pytree of arrays ``(H, W, ...)``.
      weights: A pytree of weights ``(H, W)``, each with sum 1; None in place of one: all alike. In
        a tile they are 0 where a position belongs to another tile.
    """

    values: Any
    weights: Any


class Axis(NamedTuple):
    """How windows lie along one side of an image, pixels.

    Attributes:
      side: Of the image.
      window: Of a window.
      offsets: Where the windows begin.
      halo: Pixels from a window's beginning to its own positions; the first window owns its
        border.
    """

    side: int
    window: int
    offsets: tuple[int, ...]
    halo: int

    def places(self) -> list[tuple[int, int, int]]:
        """List where each window begins, and where its own positions begin and end."""
        cuts = [0, *(offset + self.halo for offset in self.offsets[1:]), self.side]
        return list(zip(self.offsets, cuts[:-1], cuts[1:], strict=True))


class Tiling(NamedTuple):
    """The windows over images of one size, for some layers of a network; hashable.

    ``devices`` share the windows if there are several.
    """

    network: LossNetwork
    layers: tuple[str, ...]
    rows: Axis
    columns: Axis
    devices: tuple[jax.Device, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.rows.side, self.columns.side

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of a window."""
        return self.rows.window, self.columns.window

    @property
    def windows(self) -> int:
        """Number of windows."""
        return len(self.rows.offsets) * len(self.columns.offsets)

    def places(self) -> Int[Array, "tiles 2 3"]:
        """Return :meth:`Axis.places` of the rows and columns of every window.

        Windows that own nothing fill up the last device's share.
        """
        rows, columns = self.rows.places(), self.columns.places()
        places = [(row, column) for row in rows for column in columns]
        nothing = (0, 0, 0)
        places += [(nothing, nothing)] * (-len(places) % max(1, len(self.devices)))
        return jnp.asarray(places, jnp.int32)


def make_tiling(
    network: LossNetwork,
    layers: tuple[str, ...],
    size: tuple[int, ...],
    tile: int,
    *,
    devices: tuple[jax.Device, ...] = (),
) -> Tiling | None:
    """Lay out windows over an image: as few as possible, and no larger than these need to be.

    Args:
      network: A loss network.
      layers: The layers that are computed, by the network's own names.
      size: Height and width of the image.
      tile: Longest side of a window, pixels.
      devices: Of one kind, to share the windows; with fewer than two, JAX's default one.

    Returns:
      The windows, or None if a single one holds the image.

    Raises:
      ValueError: If such windows hold only what they share with their neighbors.
    """
    stride, halo, overlap = _strides(network, layers)
    if tile < (least := least_tile(network, layers)):
        raise ValueError(
            f"tile is {tile}, expected at least {least} pixels: tiles for "
            f"{max(layers, key=network.layers.index)} of {network.name} overlap by "
            f"{overlap_of(network, layers)}"
        )

    def axis(side: int) -> Axis:
        if side <= tile:
            return Axis(side, side, (0,), 0)
        # A window ends where the image does: what remains of a stride is the same for both.
        whole, rest = divmod(side, stride)
        largest = (tile - rest) // stride
        count = -(-(whole - overlap) // (largest - overlap))
        window = -(-(whole + (count - 1) * overlap) // count)
        offsets = (min(i * (window - overlap), whole - window) * stride for i in range(count))
        return Axis(side, window * stride + rest, tuple(offsets), halo * stride)

    tiling = Tiling(network, layers, axis(size[0]), axis(size[1]), devices)
    return None if tiling.windows == 1 else tiling


def least_tile(network: LossNetwork, layers: tuple[str, ...]) -> int:
    """Return the least longest side of windows for some layers, pixels."""
    stride, _, overlap = _strides(network, layers)
    return (overlap + 2) * stride


def overlap_of(network: LossNetwork, layers: tuple[str, ...]) -> int:
    """Return by how many pixels windows for some layers overlap."""
    stride, _, overlap = _strides(network, layers)
    return overlap * stride


def _strides(network: LossNetwork, layers: tuple[str, ...]) -> tuple[int, int, int]:
    """Return the deepest stride and, in strides, a window's halo before and its overlap."""
    table, fields = network.table, network.module.fields(0)
    stride = max(table[name].stride for name in layers)
    before = max(-fields[name].first for name in layers)
    after = max(fields[name].last + 1 - table[name].stride for name in layers)
    halo = -(-max(0, before) // stride)
    return stride, halo, halo + -(-max(0, after) // stride)


Function = Callable[[Params, Image, dict[str, Positions]], Any]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def sum_over_tiles(
    function: Function,
    tiling: Tiling,
    params: Params,
    image: Image,
    positions: Mapping[str, Positions],
) -> Any:
    """Add up a function of all windows; differentiable with respect to the image alone.

    Args:
      function: From parameters, window and the positions there to a pytree of floats, which is a
        sum over positions times their weights. It refers to no traced values but its arguments.
      tiling: For images of this size.
      params: Parameters of the network.
      image: RGB in [0, 1].
      positions: By layer, of the whole image.
    """

    def sums(places: Array, params: Params, image: Image, positions: Any) -> Any:
        def of_tile(place: Array) -> Any:
            return function(params, *_cut(tiling, image, positions, place))

        def add(sums: Any, place: Array) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, sums, of_tile(place)), None

        shapes = jax.eval_shape(of_tile, places[0])
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return lax.scan(add, zeros, places)[0]

    return _add_up(sums, tiling, params, image, positions)


def _add_up(function: Callable[..., Any], tiling: Tiling, *args: Any) -> Any:
    """Compute ``function(places, *args)`` for all windows, on each device for its share of them."""
    if len(tiling.devices) < 2:
        return function(tiling.places(), *args)

    def share(*args: Any) -> Any:
        return lax.psum(function(*args), "tiles")  # type: ignore[no-untyped-call]

    whole = PartitionSpec()  # type: ignore[no-untyped-call]
    apart = PartitionSpec("tiles")  # type: ignore[no-untyped-call]
    split = jax.shard_map(
        share,
        mesh=Mesh(np.array(tiling.devices), ("tiles",)),
        in_specs=(apart, *[whole] * len(args)),
        out_specs=whole,
        check_vma=False,
    )
    return split(tiling.places(), *args)


def _forward(
    function: Function, tiling: Tiling, params: Params, image: Image, positions: Any
) -> tuple[Any, Any]:
    sums = sum_over_tiles(function, tiling, params, image, positions)
    return sums, (params, image, positions)


def _backward(
    function: Function, tiling: Tiling, saved: Any, grad_sums: Any
) -> tuple[None, Image, None]:

    def grads(places: Array, params: Params, image: Image, positions: Any, grad_sums: Any) -> Image:
        def add(grad: Image, place: Array) -> tuple[Image, None]:
            window, here = _cut(tiling, image, positions, place)
            _, vjp = jax.vjp(lambda window: function(params, window, here), window)
            start = (*place[:, 0], 0)
            before = lax.dynamic_slice(grad, start, window.shape)
            return lax.dynamic_update_slice(grad, before + vjp(grad_sums)[0], start), None

        return lax.scan(add, jnp.zeros_like(image), places)[0]

    return None, _add_up(grads, tiling, *saved, grad_sums), None


sum_over_tiles.defvjp(_forward, _backward)


def features_in_tiles(tiling: Tiling, params: Params, image: Image) -> Features:
    """Compute the feature maps of the tiling's layers, whole; ``image`` is RGB in [0, 1]."""
    network, layers, places = tiling.network, tiling.layers, tiling.places()
    sizes = network.map_sizes(tiling.size, layers)

    def of_tile(place: Array) -> tuple[Features, dict[str, Positions]]:
        empty = {name: Positions((), (None,)) for name in layers}
        window, here = _cut(tiling, image, empty, place)
        return network.features(params, window, layers), here

    def put(maps: Features, place: Array) -> tuple[Features, None]:
        features, here = of_tile(place)
        for name, values in features.items():
            start = (*place[:, 0] // network.stride(name), 0)
            before = lax.dynamic_slice(maps[name], start, values.shape)
            (owned,) = here[name].weights
            values = jnp.where(owned[..., None] > 0, values, before)
            maps = maps | {name: lax.dynamic_update_slice(maps[name], values, start)}
        return maps, None

    shapes, _ = jax.eval_shape(of_tile, places[0])
    blank = {
        name: jnp.zeros((*sizes[name], shape.shape[-1]), shape.dtype)
        for name, shape in shapes.items()
    }
    return lax.scan(put, blank, places)[0]


def _cut(
    tiling: Tiling, image: Image, positions: Mapping[str, Positions], place: Int[Array, "2 3"]
) -> tuple[Image, dict[str, Positions]]:
    """Return a window and the positions there, with weights for those that it owns."""
    network = tiling.network
    sizes, whole = (network.map_sizes(n, tiling.layers) for n in (tiling.window, tiling.size))
    offsets, begins, ends = place.T

    def in_window(name: str, of_layer: Positions) -> Positions:
        stride = network.stride(name)
        pixels = [o + stride * jnp.arange(n) for o, n in zip(offsets, sizes[name], strict=True)]
        inside = [(b <= p) & (p < e) for b, p, e in zip(begins, pixels, ends, strict=True)]
        owned = (inside[0][:, None] & inside[1][None, :]).astype(jnp.float32)

        def cut(leaf: Array) -> Array:
            more = leaf.shape[2:]
            start = (*offsets // stride, *(0,) * len(more))
            return lax.dynamic_slice(leaf, start, (*sizes[name], *more))

        def restrict(weights: Array | None) -> Array:
            return owned / math.prod(whole[name]) if weights is None else owned * cut(weights)

        weights = jax.tree.map(restrict, of_layer.weights, is_leaf=lambda leaf: leaf is None)
        return Positions(jax.tree.map(cut, of_layer.values), weights)

    window = lax.dynamic_slice(image, (*offsets, 0), (*tiling.window, 3))
    return window, {name: in_window(name, of_layer) for name, of_layer in positions.items()}

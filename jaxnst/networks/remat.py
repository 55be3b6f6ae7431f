"""Evaluate feature maps block by block, recomputing each block in the backward pass.

The backward pass of a network needs all its feature maps. Here only each block's input is kept, and
the block's maps are computed again when the backward pass reaches it: some more work for a fraction
of the memory. What the loss computes from a feature map belongs to the block too, since its
gradient needs the map as well. The last block, whose gradient follows at once, is not recomputed.

``jax.checkpoint`` will not do: XLA for CPUs drops the barriers that it relies on, sees that the
same thing is computed twice, and keeps the first result after all.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Float

from jaxnst._types import FeatureMap, Image
from jaxnst.networks.color_space import encode
from jaxnst.networks.precision import rounded
from jaxnst.networks.registry import LossNetwork, Params

See = Callable[[str, FeatureMap, Any], Any]


def look_in_blocks(
    network: LossNetwork, params: Params, image: Image, see: See, aids: Mapping[str, Any]
) -> dict[str, Any]:
    """Return ``see(layer, feature map, aid)`` of layers, with little memory for the gradient.

    Args:
      network: A loss network.
      params: ``network.params``, or traced values in their place.
      image: RGB in [0, 1].
      see: A pure function that refers to no traced values but its arguments, to a pytree of floats.
      aids: What it is given for each layer, by the network's own names; a pytree of arrays each.
    """
    params = network.in_precision(params)
    x = rounded(encode(image, network.preprocessing), network.precision)
    found: dict[str, Any] = {}
    for after, names, last in blocks(network, tuple(aids)):
        own = {name: params[name] for name in names if name in params}
        here = {name: aids[name] for name in names if name in aids}
        block = partial(_block, network, see, after, last)
        if here.keys() | found.keys() == aids.keys():
            # The last block's gradient follows at once: its maps had better be kept.
            return found | block(x, own, here)[1]
        x, seen = _recomputed(block, x, own, here)
        found |= seen
    return found


def blocks(
    network: LossNetwork, layers: tuple[str, ...]
) -> Iterator[tuple[str | None, list[str], str]]:
    """Cut the layers looked through into blocks: the layer before, a block's own, the last one."""
    depth = max(network.layers.index(layer) for layer in layers)
    cuts = network.module.cuts()
    after, names = None, []
    for name in network.layers[: depth + 1]:
        names.append(name)
        if name in cuts or name == network.layers[depth]:
            yield after, names, name
            after, names = name, []


def _block(
    network: LossNetwork,
    see: See,
    after: str | None,
    last: str,
    x: Float[Array, "h w c"],
    params: Params,
    aids: dict[str, Any],
) -> tuple[FeatureMap, dict[str, Any]]:
    """Compute a block: its last feature map, and what is seen of those that are looked at."""
    wanted = tuple(dict.fromkeys((*aids, last)))
    maps: Any = network.module.apply({"params": params}, x, wanted, after)
    return maps[last], {name: see(name, maps[name], aid) for name, aid in aids.items()}


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recomputed(fun: Callable[..., Any], x: Array, *args: Any) -> Any:
    """Return ``fun(x, *args)``; its gradient is computed from the arguments alone."""
    return fun(x, *args)


def _forward(fun: Callable[..., Any], x: Array, *args: Any) -> tuple[Any, Any]:
    return fun(x, *args), (x, *args)


def _backward(fun: Callable[..., Any], saved: Any, grad: Any) -> Any:
    x, *args = saved
    # Nothing can be computed before the gradient arrives, nor be taken for what was computed
    # before: zero times a float is not known to be zero.
    nothing = 0 * sum(leaf.reshape(-1)[0] for leaf in jax.tree.leaves(grad))
    return jax.vjp(fun, x + nothing.astype(x.dtype), *args)[1](grad)


_recomputed.defvjp(_forward, _backward)

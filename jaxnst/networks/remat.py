"""Evaluate feature maps block by block, recomputing each block in the backward pass.

The backward pass of a network needs all its feature maps. Here only each block's input is kept, and
the block's maps are computed again when the backward pass reaches it: some more work for a fraction
of the memory. What the loss computes from a feature map belongs to the block too, since its
gradient needs the map as well. The last block, whose gradient follows at once, is not recomputed.

``jax.checkpoint`` does not help: XLA for CPUs drops the barriers that it relies on, sees that the
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

LayerFunction = Callable[[str, FeatureMap, Any], Any]


def map_with_remat(
    network: LossNetwork,
    params: Params,
    image: Image,
    function: LayerFunction,
    targets: Mapping[str, Any],
) -> dict[str, Any]:
    """Return ``function(layer, feature map, target)`` by layer, with little memory for gradients.

    The image is RGB in [0, 1]. The function is pure, to a pytree of floats, and refers to no traced
    values but its arguments; targets are pytrees of arrays, by the network's own names of layers.
    """
    params = network.in_precision(params)
    x = rounded(encode(image, network.preprocessing), network.precision)
    results: dict[str, Any] = {}
    after = None
    for names in blocks(network, tuple(targets)):
        block_params = {name: params[name] for name in names if name in params}
        block_targets = {name: targets[name] for name in names if name in targets}
        block = partial(_block, network, function, after, names[-1])
        if block_targets.keys() | results.keys() == targets.keys():
            return results | block(x, block_params, block_targets)[1]
        x, block_results = _recomputed(block, x, block_params, block_targets)
        results |= block_results
        after = names[-1]
    return results


def blocks(network: LossNetwork, layers: tuple[str, ...]) -> Iterator[list[str]]:
    """Cut a network, as deep as some layers need it, into blocks of consecutive layers."""
    depth = max(network.layers.index(layer) for layer in layers)
    cuts, names = network.module.cuts(), []
    for name in network.layers[: depth + 1]:
        names.append(name)
        if name in cuts or name == network.layers[depth]:
            yield names
            names = []


def _block(
    network: LossNetwork,
    function: LayerFunction,
    after: str | None,
    last: str,
    x: Float[Array, "h w c"],
    params: Params,
    targets: dict[str, Any],
) -> tuple[FeatureMap, dict[str, Any]]:
    """Compute a block: its last feature map, and the function of the layers with a target."""
    layers = tuple(dict.fromkeys((*targets, last)))
    maps: Any = network.module.apply({"params": params}, x, layers, after)
    return maps[last], {name: function(name, maps[name], t) for name, t in targets.items()}


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recomputed(fun: Callable[..., Any], x: Array, *args: Any) -> Any:
    """Return ``fun(x, *args)``; its gradient is computed from the arguments alone."""
    return fun(x, *args)


def _forward(fun: Callable[..., Any], x: Array, *args: Any) -> tuple[Any, Any]:
    return fun(x, *args), (x, *args)


def _backward(fun: Callable[..., Any], saved: Any, grad: Any) -> Any:
    x, *args = saved
    # Zero times the gradient, which XLA cannot know to be zero: nothing is recomputed before the
    # gradient arrives, nor replaced by the first result.
    zero = 0 * sum(leaf.reshape(-1)[0] for leaf in jax.tree.leaves(grad))
    return jax.vjp(fun, x + zero.astype(x.dtype), *args)[1](grad)


_recomputed.defvjp(_forward, _backward)

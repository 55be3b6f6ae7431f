"""What the families of loss networks share: a network is a table of layers, computed in order."""

from typing import TYPE_CHECKING, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnst.networks.layers import Convolution, overlapping_pool, pool, relu
from jaxnst.recipes.schema import Padding, Pooling, Precision

FeatureMaps = dict[str, Float[Array, "*batch _ _ _"]]
Shapes = dict[str, tuple[int, ...]]
"""Shapes of parameters, shallow to deep, by flat name: ``conv1_1/kernel``."""


class Layer(NamedTuple):
    """One layer of a loss network.

    Attributes:
      kind: What it computes. ``pool`` is of 2x2 squares and ``overlapping_pool`` of 3x3 ones, both
        in the network's way; ``avg_pool`` always takes means of 2x2 squares.
      channels: Of its feature map.
      stride: Pixels of the image per position.
      least: Side of the smallest image of which it has a position, pixels.
      inputs: Layers that it reads; empty: the layer before it.
      side: Of a convolution's kernel.
      has_bias: Whether a convolution adds one.
      margin: Of a convolution, None for stride 1, else the margin at stride 2; or of a pooling.
      padding: Of a convolution; None: the network's.
    """

    kind: Literal["conv", "norm", "relu", "concat", "pool", "avg_pool", "overlapping_pool"]
    channels: int
    stride: int
    least: int
    inputs: tuple[str, ...] = ()
    side: int = 3
    has_bias: bool = True
    margin: int | None = None
    padding: Padding | None = None


class Field(NamedTuple):
    """What a layer's positions see along one side of an image.

    Attributes:
      first: Position p sees no pixel before ``first + stride * p``.
      last: And none after ``last + stride * p``.
      positions: Their number.
    """

    first: int
    last: int
    positions: int


class FrozenNorm(nn.Module):
    """Batch normalization with stored statistics (Ioffe and Szegedy 2015, algorithm 2)."""

    epsilon: float

    @nn.compact
    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        """Scale and shift every channel."""
        width = (x.shape[-1],)
        gamma = self.param("gamma", nn.initializers.ones, width)
        beta = self.param("beta", nn.initializers.zeros, width)
        mean = self.param("mean", nn.initializers.zeros, width)
        variance = self.param("variance", nn.initializers.ones, width)
        scale = gamma * jax.lax.rsqrt(variance + self.epsilon)
        one = (1,) * (x.ndim - 1) + (-1,)
        normalized = (x - mean.reshape(one)) * scale.reshape(one) + beta.reshape(one)
        return normalized.astype(x.dtype)


class ConvNet(nn.Module):
    """Map a preprocessed image to feature maps of named layers; the base of every family."""

    if TYPE_CHECKING:
        # Each family declares these fields in an order of its own, which its fingerprint contains.
        @property
        def padding(self) -> Padding: ...  # noqa: D102
        @property
        def pooling(self) -> Pooling: ...  # noqa: D102
        @property
        def precision(self) -> Precision: ...  # noqa: D102
        @property
        def epsilon(self) -> float: ...  # noqa: D102

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch h w c"], layers: tuple[str, ...], after: str | None = None
    ) -> FeatureMaps:
        """Compute the named layers, and nothing deeper than the deepest.

        Nothing is preprocessed here: :meth:`jaxnst.LossNetwork.features` takes an RGB image in
        [0, 1], brings it to the network's space and calls this.

        Args:
          x: Image that has been preprocessed, or the feature map of ``after``.
          layers: Names from :meth:`table`.
          after: One of :meth:`cuts`, to continue from its feature map.
        """
        maps = {} if after is None else {after: x}
        rows = list(self.table().items())
        first = 0 if after is None else [name for name, _ in rows].index(after) + 1
        for name, layer in rows[first:]:
            x = maps[name] = self._compute(name, layer, [maps[n] for n in layer.inputs] or [x])
            if maps.keys() >= set(layers):
                break
        return {name: maps[name] for name in layers}

    @nn.nowrap
    def _compute(self, name: str, layer: Layer, inputs: list[Array]) -> Array:
        x = inputs[0]
        if layer.kind == "conv":
            convolution = Convolution(
                layer.channels,
                side=layer.side,
                padding=layer.padding or self.padding,
                has_bias=layer.has_bias,
                margin=layer.margin,
                precision=self.precision,
                name=name,
            )
            return convolution(x)
        if layer.kind == "norm":
            return FrozenNorm(self.epsilon, name=name)(x)
        if layer.kind == "relu":
            return relu(x)
        if layer.kind == "concat":
            return jnp.concatenate(inputs, axis=-1)
        if layer.kind == "overlapping_pool":
            return overlapping_pool(x, self.pooling, margin=layer.margin or 0)
        return pool(x, "avg" if layer.kind == "avg_pool" else self.pooling)

    @nn.nowrap
    def table(self) -> dict[str, Layer]:
        """Describe all layers, from shallow to deep in the order in which they are computed."""
        raise NotImplementedError

    @nn.nowrap
    def fields(self, side: int) -> dict[str, Field]:
        """Work out the receptive fields of all layers for images with a side of ``side``."""
        table, fields, before = self.table(), dict[str, Field](), Field(0, 0, side)
        for name, layer in table.items():
            inputs = [fields[n] for n in layer.inputs] or [before]
            width, margin, halves = 1, 0, "pool" in layer.kind
            if layer.kind == "conv":
                width, halves = layer.side, layer.margin is not None
                margin = layer.margin if layer.margin is not None else layer.side // 2
            elif halves:
                width, margin = 3 if layer.kind == "overlapping_pool" else 2, layer.margin or 0
            step = 2 if halves else 1
            pixels = layer.stride // step  # between two positions of the input
            before = fields[name] = Field(
                min(f.first for f in inputs) - margin * pixels,
                max(f.last for f in inputs) + (width - 1 - margin) * pixels,
                (inputs[0].positions + 2 * margin - width) // step + 1,
            )
        return fields

    @nn.nowrap
    def cuts(self) -> tuple[str, ...]:
        """Name layers whose feature map is all that the deeper ones need."""
        raise NotImplementedError

    @nn.nowrap
    def shapes(self) -> Shapes:
        """List the parameters, from shallow to deep."""
        table, shapes, channels = self.table(), Shapes(), 3
        for name, layer in table.items():
            inputs = table[layer.inputs[0]].channels if layer.inputs else channels
            channels = layer.channels
            if layer.kind == "conv":
                shapes[f"{name}/kernel"] = (layer.side, layer.side, inputs, channels)
                if layer.has_bias:
                    shapes[f"{name}/bias"] = (channels,)
            elif layer.kind == "norm":
                for part in ("gamma", "beta", "mean", "variance"):
                    shapes[f"{name}/{part}"] = (channels,)
        return shapes

    @nn.nowrap
    def alias(self, layer: str) -> str:
        """Translate the names of early Keras and of Caffe, ``conv1/relu`` and ``fire2/concat``."""
        return layer.replace("/", "_")

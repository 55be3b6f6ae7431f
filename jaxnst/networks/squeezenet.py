"""SqueezeNet 1.1 (Iandola et al. 2016, arXiv:1602.07360; version 1.1 of the authors' files).

Layers have Keras' names with ``_`` for ``/``: ``relu_conv1``, ``fire2_relu_squeeze1x1``,
``fire2_relu_expand3x3``, ``fire2_concat``, ``pool3``.
"""

from collections.abc import Generator, Iterator

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnst.networks.cpu.table import FeatureMaps, Layer, Shapes, take
from jaxnst.networks.layers import overlapping_pool, relu
from jaxnst.networks.modules import Convolution
from jaxnst.recipes.schema import Padding, Pooling, Precision

STEM = 64
FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128)}
FIRES |= {6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}
"""Outputs of each fire module's squeezing convolution and of both expanding ones."""

POOLED = (3, 5)
"""Fire modules that a pooling follows."""


class SqueezeNet(nn.Module):
    """Map a preprocessed image to the feature maps of the layers asked for.

    Attributes:
      padding: What the 3x3 convolutions of the fire modules find beyond the border.
      pooling: ``max``, as trained, ``avg`` or ``avg-scaled``.
      precision: Of the convolutions.
    """

    padding: Padding = "zero"
    pooling: Pooling = "max"
    precision: Precision = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch h w c"],
        layers: tuple[str, ...],
        after: str | None = None,
    ) -> FeatureMaps:
        """Compute the layers asked for, by name, and nothing deeper than the deepest."""
        return take(self._computed(x, after), layers)

    @nn.nowrap
    def _computed(self, x: Array, after: str | None) -> Iterator[tuple[str, Array]]:
        passed = int(after.removeprefix("pool")) if after else 0  # 1: the stem, then fire modules
        if not passed:
            x = Convolution(STEM, halving=0, precision=self.precision, name="conv1")(x)
            yield "conv1", x
            x = relu(x)
            yield "relu_conv1", x
            x = overlapping_pool(x, self.pooling)
            yield "pool1", x
        for i, (squeezed, expanded) in FIRES.items():
            if i <= passed:
                continue
            x = yield from self._activated(f"fire{i}", "squeeze1x1", squeezed, x)
            near = yield from self._activated(f"fire{i}", "expand1x1", expanded, x)
            far = yield from self._activated(f"fire{i}", "expand3x3", expanded, x)
            x = jnp.concatenate([near, far], axis=-1)
            yield f"fire{i}_concat", x
            if i in POOLED:
                x = overlapping_pool(x, self.pooling)
                yield f"pool{i}", x

    @nn.nowrap
    def _activated(
        self, fire: str, part: str, width: int, x: Array
    ) -> Generator[tuple[str, Array], None, Array]:
        name = f"{fire}_{part}"
        x = Convolution(width, _side(part), self.padding, precision=self.precision, name=name)(x)
        yield f"{fire}_{part}", x
        x = relu(x)
        yield f"{fire}_relu_{part}", x
        return x

    @nn.nowrap
    def table(self) -> dict[str, Layer]:
        """List all layers, from shallow to deep."""
        found: dict[str, Layer] = {}

        def add(names: str, channels: int, stride: int) -> None:
            # Nothing is padded at the stem and the poolings, each of which takes three positions.
            for name in names.split():
                found[name] = Layer(channels, stride, 2 * stride - 1)

        add("conv1 relu_conv1", STEM, 2)
        add("pool1", STEM, 4)
        stride = 4
        for i, (squeezed, expanded) in FIRES.items():
            add(f"fire{i}_squeeze1x1 fire{i}_relu_squeeze1x1", squeezed, stride)
            for part in ("expand1x1", "expand3x3"):
                add(f"fire{i}_{part} fire{i}_relu_{part}", expanded, stride)
            add(f"fire{i}_concat", 2 * expanded, stride)
            if i in POOLED:
                stride *= 2
                add(f"pool{i}", 2 * expanded, stride)
        return found

    @nn.nowrap
    def cuts(self) -> tuple[str, ...]:
        """Name the layers after which the network may be cut into blocks."""
        return "pool1", *(f"pool{i}" for i in POOLED)

    @nn.nowrap
    def shapes(self) -> Shapes:
        """List the parameters, from shallow to deep."""
        found: Shapes = {}
        width = 3
        for name, layer in self.table().items():
            part = name.rpartition("_")[2]
            if name == "conv1" or (name.count("_") == 1 and part[-3:] in ("1x1", "3x3")):
                found[f"{name}/kernel"] = (*[_side(part)] * 2, width, layer.channels)
                found[f"{name}/bias"] = (layer.channels,)
            if not part.startswith("expand"):  # both expand what was squeezed
                width = layer.channels
        return found

    @nn.nowrap
    def alias(self, layer: str) -> str:
        """Translate the names of the file's author, ``fire2/concat``."""
        return layer.replace("/", "_")


def _side(part: str) -> int:
    """Return the side of a convolution's kernel."""
    return 1 if part.endswith("1x1") else 3

"""SqueezeNet 1.1 (Iandola et al. 2016, arXiv:1602.07360; version 1.1 of the authors' files).

Layers have Keras' names with ``_`` for ``/``: ``relu_conv1``, ``fire2_relu_squeeze1x1``,
``fire2_relu_expand3x3``, ``fire2_concat``, ``pool3``.
"""

from typing import Any

import flax.linen as nn

from jaxnst.networks.convnet import ConvNet, Layer
from jaxnst.recipes.schema import Padding, Pooling, Precision

STEM = 64
FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128)}
FIRES |= {6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}
"""Outputs of each fire module's squeezing convolution and of both expanding ones."""

POOLED = (3, 5)
"""Fire modules that a pooling follows."""


class SqueezeNet(ConvNet):
    """Map a preprocessed image to feature maps of named layers.

    Attributes:
      padding: What lies beyond the border of the input of the fire modules' 3x3 convolutions.
      pooling: ``max``, as trained, ``avg`` or ``avg-scaled``.
      precision: Of the convolutions.
    """

    padding: Padding = "zero"
    pooling: Pooling = "max"
    precision: Precision = "float32"

    @nn.nowrap
    def table(self) -> dict[str, Layer]:
        """Describe all layers, from shallow to deep."""
        table: dict[str, Layer] = {}

        def add(name: str, kind: Any, channels: int, stride: int, **options: Any) -> None:
            # Nothing is padded at the stem and the poolings, each of which takes three positions.
            table[name] = Layer(kind, channels, stride, 2 * stride - 1, **options)

        add("conv1", "conv", STEM, 2, margin=0, padding="zero")
        add("relu_conv1", "relu", STEM, 2)
        stride = 4
        add("pool1", "overlapping_pool", STEM, stride)
        for i, (squeezed, expanded) in FIRES.items():
            add(f"fire{i}_squeeze1x1", "conv", squeezed, stride, side=1)
            add(f"fire{i}_relu_squeeze1x1", "relu", squeezed, stride)
            for side in (1, 3):
                part, before = f"expand{side}x{side}", f"fire{i}_relu_squeeze1x1"
                add(f"fire{i}_{part}", "conv", expanded, stride, side=side, inputs=(before,))
                add(f"fire{i}_relu_{part}", "relu", expanded, stride)
            inputs = (f"fire{i}_relu_expand1x1", f"fire{i}_relu_expand3x3")
            add(f"fire{i}_concat", "concat", 2 * expanded, stride, inputs=inputs)
            if i in POOLED:
                stride *= 2
                add(f"pool{i}", "overlapping_pool", 2 * expanded, stride)
        return table

    @nn.nowrap
    def cuts(self) -> tuple[str, ...]:
        """Name the layers after which the network may be cut into blocks."""
        return ("pool1", *(f"pool{i}" for i in POOLED))

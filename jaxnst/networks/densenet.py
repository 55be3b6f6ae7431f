"""The DenseNet family (Huang, Liu, van der Maaten and Weinberger, CVPR 2017, table 1).

Layers have Keras' names: ``conv1_relu``, ``conv2_block3_concat``, ``pool2_conv``, ``relu``. Batch
normalization is frozen: it applies the stored mean and variance, and the number added to the
variance is the one that the parameters were trained with (Keras 1.001e-5, torchvision 1e-5).
"""

from typing import Any

import flax.linen as nn

from jaxnst.networks.convnet import ConvNet, Layer
from jaxnst.recipes.schema import Padding, Pooling, Precision

DENSENET121 = (6, 12, 24, 16)
DENSENET169 = (6, 12, 32, 32)
DENSENET201 = (6, 12, 48, 32)

GROWTH = 32
BOTTLENECK = 4 * GROWTH
STEM = 64

KERAS_EPSILON = 1.001e-5


class DenseNet(ConvNet):
    """Map a preprocessed image to feature maps of named layers.

    Attributes:
      blocks: Dense layers in each of the four blocks.
      padding: What lies beyond the border of a convolution's input.
      pooling: Of the stem, ``max`` as trained, ``avg`` or ``avg-scaled``; between blocks it is
        always ``avg``.
      epsilon: Added to every variance.
      precision: Of the convolutions.
    """

    blocks: tuple[int, ...]
    padding: Padding = "zero"
    pooling: Pooling = "max"
    epsilon: float = KERAS_EPSILON
    precision: Precision = "float32"

    @nn.nowrap
    def table(self) -> dict[str, Layer]:
        """Describe all layers, from shallow to deep."""
        table: dict[str, Layer] = {}

        def add(name: str, kind: Any, channels: int, stride: int, **options: Any) -> None:
            # The stem rounds up and the three transitions down: 3 pixels less than a stride do.
            least = max(1, stride - 3)
            table[name] = Layer(kind, channels, stride, least, has_bias=False, **options)

        def activate(prefix: str, channels: int, stride: int) -> None:
            add(f"{prefix}bn", "norm", channels, stride)
            add(f"{prefix}relu", "relu", channels, stride)

        add("conv1_conv", "conv", STEM, 2, side=7, margin=3)
        activate("conv1_", STEM, 2)
        add("pool1", "overlapping_pool", STEM, 4, margin=1)
        width, stride, before = STEM, 4, "pool1"
        for b, depth in enumerate(self.blocks, 2):
            for i in range(1, depth + 1):
                layer = f"conv{b}_block{i}"
                activate(f"{layer}_0_", width, stride)
                add(f"{layer}_1_conv", "conv", BOTTLENECK, stride, side=1)
                activate(f"{layer}_1_", BOTTLENECK, stride)
                add(f"{layer}_2_conv", "conv", GROWTH, stride)
                width += GROWTH
                inputs = (before, f"{layer}_2_conv")
                add(f"{layer}_concat", "concat", width, stride, inputs=inputs)
                before = f"{layer}_concat"
            if b <= len(self.blocks):
                activate(f"pool{b}_", width, stride)
                width //= 2
                add(f"pool{b}_conv", "conv", width, stride, side=1)
                stride *= 2
                before = f"pool{b}_pool"
                add(before, "avg_pool", width, stride)
        activate("", width, stride)
        return table

    @nn.nowrap
    def cuts(self) -> tuple[str, ...]:
        """Name the layers after which the network may be cut into blocks."""
        kinds = ("overlapping_pool", "avg_pool", "concat")
        return tuple(name for name, layer in self.table().items() if layer.kind in kinds)

"""The VGG family (Simonyan and Zisserman 2015).

Blocks of 3x3 convolutions with ReLU, a 2x2 pooling after each block. Layers are named as in the
literature: ``conv4_2`` before the ReLU, ``relu4_2`` after it, ``pool4`` the pooling that follows
block 4. Only the convolutional part exists here; the classifier has no use in style transfer.
"""

import re

import flax.linen as nn

from jaxnst.networks.convnet import ConvNet, Layer
from jaxnst.recipes.schema import Padding, Pooling, Precision

Blocks = tuple[tuple[int, ...], ...]
"""Output channels of every convolution, by block."""

VGG16: Blocks = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
VGG19: Blocks = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
# Widths are multiples of 32: on a CPU 24 channels cost more than 32 (docs/performance.md).
VGG16_LITE: Blocks = ((32,) * 2, (64,) * 2, (128,) * 3, (256,) * 3, (512,))
VGG19_LITE: Blocks = ((32,) * 2, (64,) * 2, (128,) * 2, (128,) * 2, (128,))

EDGE_WHERE_IT_SHOWS: tuple[tuple[str, Padding], ...] = tuple(
    (name, "edge") for name in ("conv1_1", "conv4_1", "conv4_2", "conv5_1")
)
"""What ``vgg19-lite`` was trained with: zeros around the image and around the deepest maps become
a colored frame in the result."""


class VGG(ConvNet):
    """Map a preprocessed image to feature maps of named layers.

    Attributes:
      blocks: Output channels of every convolution, by block.
      padding: What lies beyond the border of a convolution's input.
      exceptions: Convolutions by name, with a padding of their own.
      pooling: ``max``, as the networks were trained, ``avg`` (Gatys et al. 2016, section 2), or
        ``avg-scaled``, whose maps are about as large as those of ``max``.
      precision: Of the convolutions.
    """

    blocks: Blocks
    padding: Padding = "zero"
    exceptions: tuple[tuple[str, Padding], ...] = ()
    pooling: Pooling = "max"
    precision: Precision = "float32"

    @nn.nowrap
    def table(self) -> dict[str, Layer]:
        """Describe all layers, from shallow to deep."""
        exceptions, table = dict(self.exceptions), {}
        for b, widths in enumerate(self.blocks, 1):
            stride = 2 ** (b - 1)
            for i, width in enumerate(widths, 1):
                padding = exceptions.get(f"conv{b}_{i}")
                table[f"conv{b}_{i}"] = Layer("conv", width, stride, stride, padding=padding)
                table[f"relu{b}_{i}"] = Layer("relu", width, stride, stride)
            table[f"pool{b}"] = Layer("pool", widths[-1], 2 * stride, 2 * stride)
        return table

    @nn.nowrap
    def cuts(self) -> tuple[str, ...]:
        """Name the layers after which the network may be cut into blocks."""
        # What follows takes most of the work, and less memory than the first block alone.
        return ("relu1_1", "pool1", "pool2")[: len(self.blocks)]

    @nn.nowrap
    def alias(self, layer: str) -> str:
        """Translate Keras' name of a layer: ``block4_conv2`` is taken after the ReLU."""
        layer = re.sub(r"^block(\d)_conv(\d)$", r"relu\1_\2", layer)
        return re.sub(r"^block(\d)_pool$", r"pool\1", layer)

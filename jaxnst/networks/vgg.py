"""The VGG family (Simonyan and Zisserman 2015): one module, four tables.

Blocks of 3x3 convolutions with ReLU, a 2x2 pooling between blocks. Layers are named as in the
literature: ``conv4_2`` before the ReLU, ``relu4_2`` after it, ``pool4`` the pooling that follows
block 4. Only the convolutional part exists here; the classifier has no use in style transfer.
"""

import re
from collections.abc import Iterator

import flax.linen as nn
from jaxtyping import Array, Float

from jaxnst.networks.cpu.table import FeatureMaps, Layer, Shapes, following, take
from jaxnst.networks.layers import POOLINGS, relu
from jaxnst.networks.modules import Convolution
from jaxnst.recipes.schema import Padding, Pooling, Precision

Blocks = tuple[tuple[int, ...], ...]
"""Output channels of every convolution, by block."""

VGG16: Blocks = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
VGG19: Blocks = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
# Widths are multiples of 32: on a CPU 24 channels cost more than 32 (docs/performance.md).
VGG16_LITE: Blocks = ((32,) * 2, (64,) * 2, (128,) * 3, (256,) * 3, (512,))
VGG19_LITE: Blocks = ((32,) * 2, (64,) * 2, (128,) * 2, (128,) * 2, (128,))

EDGE_WHERE_IT_SHOWS: tuple[tuple[str, Padding], ...] = (
    ("conv1_1", "edge"),
    ("conv4_1", "edge"),
    ("conv4_2", "edge"),
    ("conv5_1", "edge"),
)
"""What ``vgg19-lite`` was trained with: zeros around the picture and around the deepest maps become
a coloured frame in the picture."""


class VGG(nn.Module):
    """Map a preprocessed image to the feature maps of the layers asked for.

    Attributes:
      blocks: Output channels of every convolution, by block.
      padding: What a convolution finds beyond the border.
      exceptions: Convolutions by name, with a padding of their own.
      pooling: ``max``, as the networks were trained, ``avg`` (Gatys et al. 2016, section 2), or
        ``avg-scaled``, as large as the former.
      precision: Of the convolutions.
    """

    blocks: Blocks
    padding: Padding = "zero"
    exceptions: tuple[tuple[str, Padding], ...] = ()
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
        pool = POOLINGS[self.pooling]
        exceptions = dict(self.exceptions)
        for name, layer in following(self.table(), after):
            if name.startswith("conv"):
                padding = exceptions.get(name, self.padding)
                convolution = Convolution(
                    layer.channels, padding=padding, precision=self.precision, name=name
                )
                x = convolution(x)
            elif name.startswith("relu"):
                x = relu(x)
            else:
                x = pool(x)
            yield name, x

    @nn.nowrap
    def table(self) -> dict[str, Layer]:
        """List all layers, from shallow to deep."""
        found: dict[str, Layer] = {}
        for b, widths in enumerate(self.blocks, 1):
            stride = 2 ** (b - 1)
            for i, width in enumerate(widths, 1):
                for kind in ("conv", "relu"):
                    found[f"{kind}{b}_{i}"] = Layer(width, stride, stride)
            found[f"pool{b}"] = Layer(widths[-1], 2 * stride, 2 * stride)
        return found

    @nn.nowrap
    def cuts(self) -> tuple[str, ...]:
        """Name the layers after which the network may be cut into blocks."""
        # What follows takes most of the work, and less memory than the first block alone.
        return ("relu1_1", "pool1", "pool2")[: len(self.blocks)]

    @nn.nowrap
    def shapes(self) -> Shapes:
        """List the parameters, from shallow to deep."""
        found: Shapes = {}
        width = 3
        for name, layer in self.table().items():
            if name.startswith("conv"):
                found[f"{name}/kernel"] = (3, 3, width, layer.channels)
                found[f"{name}/bias"] = (layer.channels,)
                width = layer.channels
        return found

    @nn.nowrap
    def alias(self, layer: str) -> str:
        """Translate Keras' name of a layer: ``block4_conv2`` is taken after the ReLU."""
        if match := re.fullmatch(r"block(\d)_conv(\d)", layer):
            return f"relu{match[1]}_{match[2]}"
        if match := re.fullmatch(r"block(\d)_pool", layer):
            return f"pool{match[1]}"
        return layer

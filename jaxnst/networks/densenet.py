"""The DenseNet family (Huang, Liu, van der Maaten and Weinberger, CVPR 2017, table 1).

Layers have Keras' names: ``conv1_relu``, ``conv2_block3_concat``, ``pool2_conv``, ``relu``. Batch
normalisation is frozen: it applies the stored mean and variance, and the number added to the
variance is the one that the parameters were trained with (Keras 1.001e-5, torchvision 1e-5).
"""

from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnst.networks.cpu.table import FeatureMaps, Layer, Shapes, following, take
from jaxnst.networks.layers import avg_pool, overlapping_pool, relu
from jaxnst.networks.modules import Convolution
from jaxnst.recipes.schema import Padding, Pooling, Precision

DENSENET121 = (6, 12, 24, 16)
DENSENET169 = (6, 12, 32, 32)
DENSENET201 = (6, 12, 48, 32)

GROWTH = 32
BOTTLENECK = 4 * GROWTH
STEM = 64

CUT_KINDS = ("pool1", "pool", "concat")

KERAS_EPSILON = 1.001e-5


class FrozenNorm(nn.Module):
    """Batch normalisation with stored statistics (Ioffe and Szegedy 2015, algorithm 2)."""

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
        found = (x - mean.reshape(one)) * scale.reshape(one) + beta.reshape(one)
        return found.astype(x.dtype)


class DenseNet(nn.Module):
    """Map a preprocessed image to the feature maps of the layers asked for.

    Attributes:
      blocks: Dense layers in each of the four blocks.
      padding: What a convolution finds beyond the border.
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
        before = x
        for name, layer in following(self.table(), after):
            kind = _kind(name)
            if kind == "bn":
                x = FrozenNorm(self.epsilon, name=name)(x)
            elif kind == "relu":
                x = relu(x)
            elif kind == "conv":
                convolution = Convolution(
                    width=layer.channels,
                    side=_side(name),
                    padding=self.padding,
                    has_bias=False,
                    halving=3 if name == "conv1_conv" else None,
                    precision=self.precision,
                    name=name,
                )
                x = convolution(x)
            elif kind == "concat":
                x = before = jnp.concatenate([before, x], axis=-1)
            elif name == "pool1":
                x = before = overlapping_pool(x, self.pooling, margin=1)
            else:
                x = before = avg_pool(x)
            yield name, x

    @nn.nowrap
    def table(self) -> dict[str, Layer]:
        """List all layers, from shallow to deep."""
        found: dict[str, Layer] = {}

        def add(names: str, channels: int, stride: int) -> None:
            # The stem rounds up and the three transitions down: 3 pixels less than a stride do.
            for name in names.split():
                found[name] = Layer(channels, stride, max(1, stride - 3))

        add("conv1_conv conv1_bn conv1_relu", STEM, 2)
        add("pool1", STEM, 4)
        width, stride, last = STEM, 4, len(self.blocks) + 1
        for b, depth in enumerate(self.blocks, 2):
            for i in range(1, depth + 1):
                layer = f"conv{b}_block{i}"
                add(f"{layer}_0_bn {layer}_0_relu", width, stride)
                add(f"{layer}_1_conv {layer}_1_bn {layer}_1_relu", BOTTLENECK, stride)
                add(f"{layer}_2_conv", GROWTH, stride)
                width += GROWTH
                add(f"{layer}_concat", width, stride)
            if b < last:
                add(f"pool{b}_bn pool{b}_relu", width, stride)
                width, stride = width // 2, 2 * stride
                add(f"pool{b}_conv", width, stride // 2)
                add(f"pool{b}_pool", width, stride)
        add("bn relu", width, stride)
        return found

    @nn.nowrap
    def cuts(self) -> tuple[str, ...]:
        """Name the layers after which the network may be cut into blocks."""
        return tuple(name for name in self.table() if _kind(name) in CUT_KINDS)

    @nn.nowrap
    def shapes(self) -> Shapes:
        """List the parameters, from shallow to deep."""
        found: Shapes = {}
        width = 3
        for name, layer in self.table().items():
            kind = _kind(name)
            if kind == "conv":
                found[f"{name}/kernel"] = (*[_side(name)] * 2, width, layer.channels)
            elif kind == "bn":
                for part in ("gamma", "beta", "mean", "variance"):
                    found[f"{name}/{part}"] = (layer.channels,)
            width = layer.channels
        return found

    @nn.nowrap
    def alias(self, layer: str) -> str:
        """Translate the names of early Keras, ``conv1/relu``."""
        return layer.replace("/", "_")


def _kind(name: str) -> str:
    return name.rpartition("_")[2]


def _side(name: str) -> int:
    """Return the side of a convolution's kernel."""
    return 7 if name == "conv1_conv" else 3 if name.endswith("_2_conv") else 1

"""The transformation network: a picture in the manner of one style, in one pass.

A 9x9 convolution, strided 3x3 ones, residual blocks on the small map, as many up-samplings, and a
9x9 convolution back to RGB (Johnson et al. 2016, section 3.1 and its supplement). Each convolution
but the last is normalised, by default over each picture by itself (Ulyanov et al. 2016).

Pictures are ``(H, W, 3)`` or ``(B, H, W, 3)``, RGB in [0, 1], and come out in the size in which
they went in. What comes out is not clipped, so that a loss of it has a gradient everywhere.

References:
  Johnson, Alahi, Fei-Fei: Perceptual Losses for Real-Time Style Transfer and Super-Resolution.
  ECCV 2016. Ulyanov, Vedaldi, Lempitsky: Instance Normalization: The Missing Ingredient for Fast
  Stylization. arXiv:1607.08022.
"""

from typing import Literal, get_args

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnst._checks import among
from jaxnst.feedforward.upsampling import Doubling, Upsampling
from jaxnst.networks.convnet import Shapes
from jaxnst.networks.layers import Convolution, relu
from jaxnst.networks.precision import rounded
from jaxnst.recipes.schema import Padding, Precision

Normalization = Literal["instance", "batch"]
Output = Literal["tanh", "linear"]

REACH = 150 / 255
"""The tanh's factor: 150 of 255 levels around the middle (Johnson's own code), so that black and
white are reached at a slope that is not zero."""

ENDS = 9
"""Side of the first and last kernels."""


class TransformationNetwork(nn.Module):
    """Paint pictures in the one manner that its parameters hold.

    Attributes:
      widths: Channels after the first convolution and after each strided one, of which there is one
        fewer.
      blocks: Residual blocks: convolution, normalisation, ReLU, convolution, normalisation, added
        to what came in, without a ReLU after that.
      normalization: ``instance``: by mean and variance of each channel of each picture; ``batch``:
        by a mean and a variance that are parameters.
      upsampling: ``resize``: pixels doubled, then a convolution; ``transposed``: a transposed
        convolution, whose kernel covers pixels unevenly.
      output: ``tanh``, scaled, around grey; or ``linear``, what the last convolution gives.
      padding: What lies beyond the border of every convolution.
      scale: Picture values are multiplied by it before the first convolution, and what a linear
        output gives is divided by it: 255 for networks of levels.
      epsilon: Added to variances.
      precision: Of feature maps and products; normalisation is in float32.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    blocks: int = 5
    normalization: Normalization = "instance"
    upsampling: Upsampling = "resize"
    output: Output = "tanh"
    padding: Padding = "reflect"
    scale: float = 1.0
    epsilon: float = 1e-5
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "*batch h w 3"]) -> Float[Array, "*batch h w 3"]:
        """Paint a picture, or several of one size.

        Raises:
          ValueError: If a side is shorter than ``least``.
        """
        height, width = x.shape[-3:-1]
        if min(height, width) < self.least:
            raise ValueError(
                f"picture is {width}x{height}, expected at least {self.least} pixels per side: "
                "enlarge it"
            )
        missing = [(0, -side % self.stride) for side in (height, width)]
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [*missing, (0, 0)], mode="reflect")
        x = rounded(self.scale * x, self.precision)
        x = relu(self._layer("conv1", x, self.widths[0], side=ENDS))
        for i, channels in enumerate(self.widths[1:], 2):
            x = relu(self._layer(f"conv{i}", x, channels, margin=1))
        for i in range(1, self.blocks + 1):
            y = relu(self._layer(f"res{i}_1", x, self.widths[-1]))
            x = x + self._layer(f"res{i}_2", y, self.widths[-1])
        for i, channels in enumerate(reversed(self.widths[:-1]), 1):
            x = relu(self._doubled(f"up{i}", x, channels))
        x = self._convolution("out", 3, side=ENDS, has_bias=True)(x).astype(jnp.float32)
        x = x[..., :height, :width, :]
        return 0.5 + REACH * jnp.tanh(x) if self.output == "tanh" else x / self.scale

    def _convolution(
        self,
        name: str,
        width: int,
        *,
        side: int = 3,
        margin: int | None = None,
        has_bias: bool = False,
    ) -> Convolution:
        return Convolution(
            width,
            side=side,
            padding=self.padding,
            has_bias=has_bias,
            margin=margin,
            precision=self.precision,
            name=name,
        )

    def _layer(
        self, name: str, x: Array, width: int, *, side: int = 3, margin: int | None = None
    ) -> Array:
        # No bias: a normalisation takes it away again.
        return self._normalized(name, self._convolution(name, width, side=side, margin=margin)(x))

    def _doubled(self, name: str, x: Array, width: int) -> Array:
        layer = Doubling(width, self.upsampling, self.padding, self.precision, name=name)
        return self._normalized(name, layer(x))

    def _normalized(self, name: str, x: Array) -> Array:
        frozen = self.normalization == "batch"
        return Normalizing(frozen, self.epsilon, self.precision, name=f"{name}_norm")(x)

    @property
    def stride(self) -> int:
        """How many pixels one position of the smallest map stands for."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def least(self) -> int:
        """Side of the smallest picture that can be mirrored at every border, pixels."""
        return max(ENDS // 2 + 1, 2 * self.stride)

    @nn.nowrap
    def shapes(self) -> Shapes:
        """List the parameters, from first to last, by flat name: ``conv1/kernel``."""
        found: Shapes = {}

        def add(name: str, side: int, before: int, width: int) -> int:
            found[f"{name}/kernel"] = (side, side, before, width)
            for part in ("gamma", "beta", "mean", "variance")[: self._parts]:
                found[f"{name}_norm/{part}"] = (width,)
            return width

        width = 3
        for i, channels in enumerate(self.widths, 1):
            width = add(f"conv{i}", ENDS if i == 1 else 3, width, channels)
        for i in range(1, self.blocks + 1):
            for j in (1, 2):
                add(f"res{i}_{j}", 3, width, width)
        for i, channels in enumerate(reversed(self.widths[:-1]), 1):
            width = add(f"up{i}", 3, width, channels)
        found["out/kernel"], found["out/bias"] = (ENDS, ENDS, width, 3), (3,)
        return found

    @property
    def _parts(self) -> int:
        return 4 if self.normalization == "batch" else 2

    @nn.nowrap
    def check(self) -> None:
        """Refuse fields of which no network can be made.

        Raises:
          ValueError: A field is out of range; names it.
        """
        among("normalization", self.normalization, get_args(Normalization))
        among("upsampling", self.upsampling, get_args(Upsampling))
        among("output", self.output, get_args(Output))
        among("padding", self.padding, get_args(Padding))
        among("precision", self.precision, get_args(Precision))
        if not (1 <= len(self.widths) <= 6 and all(1 <= width <= 4096 for width in self.widths)):
            raise ValueError(f"widths is {self.widths}, expected one to six numbers, 1 to 4096")
        if not 0 <= self.blocks <= 100:
            raise ValueError(f"blocks is {self.blocks}, expected 0 to 100")
        for name in ("scale", "epsilon"):
            if not 0 < (value := getattr(self, name)) <= 1e6:
                raise ValueError(f"{name} is {value}, expected a number above 0, at most 1e6")


class Normalizing(nn.Module):
    """Channels of mean 0 and variance 1, times gamma plus beta.

    Attributes:
      frozen: Whether mean and variance are parameters, else those of each picture.
      epsilon: Added to the variance.
      precision: Of the result; everything before is float32.
    """

    frozen: bool
    epsilon: float
    precision: Precision

    @nn.compact
    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        """Normalise a feature map."""
        x = x.astype(jnp.float32)
        one = (*(1,) * (x.ndim - 1), x.shape[-1])

        def parameter(name: str, value: nn.initializers.Initializer) -> Array:
            return self.param(name, value, (x.shape[-1],)).astype(jnp.float32).reshape(one)

        gamma = parameter("gamma", nn.initializers.ones)
        beta = parameter("beta", nn.initializers.zeros)
        if self.frozen:
            mean = parameter("mean", nn.initializers.zeros)
            variance = parameter("variance", nn.initializers.ones)
        else:
            # After the mean: the mean of squares, less its square, has too few digits of it.
            mean = x.mean((-3, -2), keepdims=True)
            variance = jnp.square(x - mean).mean((-3, -2), keepdims=True)
        factor = gamma / jnp.sqrt(variance + self.epsilon)
        return rounded((x - mean) * factor + beta, self.precision)

"""The transformation network: paints an image in one style, in one pass.

A 9x9 convolution, strided 3x3 ones, residual blocks at the lowest resolution, as many up-sampling
convolutions as strided ones, and a 9x9 convolution back to RGB (Johnson et al. 2016, section 3.1
and its supplement). Each convolution but the last is normalized, by default over each image
separately (Ulyanov et al. 2016).

Images are ``(H, W, 3)`` or ``(B, H, W, 3)``, RGB in [0, 1]; the output has the size of the input
and is not clipped, so that a loss has a gradient everywhere.

References:
  Johnson, Alahi, Fei-Fei: Perceptual Losses for Real-Time Style Transfer and Super-Resolution.
  ECCV 2016. Ulyanov, Vedaldi, Lempitsky: Instance Normalization: The Missing Ingredient for Fast
  Stylization. arXiv:1607.08022.
"""

from typing import Any, Literal, get_args

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxnst._checks import among, check
from jaxnst.networks.convnet import Shapes
from jaxnst.networks.cpu.canonical import canonical_conv
from jaxnst.networks.layers import Convolution, add_bias, pad, relu
from jaxnst.networks.precision import PRODUCTS, rounded
from jaxnst.recipes.schema import Padding, Precision

Normalization = Literal["instance", "batch"]
Upsampling = Literal["resize", "transposed"]
Output = Literal["tanh", "linear"]

REACH = 150 / 255
"""The tanh's factor: 150 of 255 levels around the middle (Johnson's code), so that the slope at
black and white is not zero."""

ENDS = 9
"""Side of the first and last kernel."""


class TransformationNetwork(nn.Module):
    """Paint images in the style that the parameters were trained for.

    Attributes:
      widths: Output channels of the first convolution and of each strided one.
      blocks: Number of residual blocks: convolution, normalization, ReLU, convolution,
        normalization, added to the block's input, without a final ReLU.
      normalization: ``instance``: by mean and variance of each channel of each image; ``batch``:
        by a mean and a variance that are parameters.
      upsampling: ``resize``: nearest-neighbor resizing, then a convolution; ``transposed``: a
        transposed convolution, whose kernel covers pixels unevenly.
      output: ``tanh``, scaled, around gray; or ``linear``, the output of the last convolution.
      padding: Padding of every convolution.
      scale: Factor of pixel values before the first convolution; a linear output is divided by it.
        255 for networks of 8-bit levels.
      epsilon: Added to variances.
      precision: Precision of feature maps and products; normalization is in float32.
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
        """Paint an image, or several of the same size.

        Raises:
          ValueError: A side is shorter than ``least``.
        """
        height, width = x.shape[-3:-1]
        if min(height, width) < self.least:
            raise ValueError(
                f"picture is {width}x{height}, expected at least {self.least} pixels per side: "
                "enlarge it"
            )

        def normalized(name: str, x: Array) -> Array:
            frozen = self.normalization == "batch"
            return Norm(frozen, self.epsilon, self.precision, name=f"{name}_norm")(x)

        def layer(name: str, x: Array, width: int, *, side: int = 3, **options: Any) -> Array:
            options |= {"padding": self.padding, "precision": self.precision, "name": name}
            # No bias: a normalization would cancel it.
            return normalized(name, Convolution(width, side, has_bias=False, **options)(x))

        missing = [(0, -side % self.stride) for side in (height, width)]
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [*missing, (0, 0)], mode="reflect")
        x = rounded(self.scale * x, self.precision)
        x = relu(layer("conv1", x, self.widths[0], side=ENDS))
        for i, channels in enumerate(self.widths[1:], 2):
            x = relu(layer(f"conv{i}", x, channels, margin=1))
        for i in range(1, self.blocks + 1):
            y = relu(layer(f"res{i}_1", x, self.widths[-1]))
            x = x + layer(f"res{i}_2", y, self.widths[-1])
        for i, channels in enumerate(reversed(self.widths[:-1]), 1):
            options = self.upsampling, self.padding, self.precision
            x = relu(normalized(f"up{i}", UpsampleConv(channels, *options, name=f"up{i}")(x)))
        last = Convolution(3, ENDS, self.padding, precision=self.precision, name="out")
        x = last(x).astype(jnp.float32)[..., :height, :width, :]
        return 0.5 + REACH * jnp.tanh(x) if self.output == "tanh" else x / self.scale

    @property
    def stride(self) -> int:
        """Pixels per position at the lowest resolution."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def least(self) -> int:
        """Least side of an image, pixels, which padding by reflection needs."""
        return max(ENDS // 2 + 1, 2 * self.stride)

    @nn.nowrap
    def shapes(self) -> Shapes:
        """List the shapes of the parameters in execution order, by flat name: ``conv1/kernel``."""
        shapes: Shapes = {}
        parts = ("gamma", "beta", "mean", "variance")[: 4 if self.normalization == "batch" else 2]

        def add(name: str, side: int, inputs: int, width: int) -> int:
            shapes[f"{name}/kernel"] = (side, side, inputs, width)
            shapes.update({f"{name}_norm/{part}": (width,) for part in parts})
            return width

        width = 3
        for i, channels in enumerate(self.widths, 1):
            width = add(f"conv{i}", ENDS if i == 1 else 3, width, channels)
        for i in range(1, self.blocks + 1):
            for j in (1, 2):
                add(f"res{i}_{j}", 3, width, width)
        for i, channels in enumerate(reversed(self.widths[:-1]), 1):
            width = add(f"up{i}", 3, width, channels)
        return {**shapes, "out/kernel": (ENDS, ENDS, width, 3), "out/bias": (3,)}

    @nn.nowrap
    def check(self) -> None:
        """Check the fields.

        Raises:
          ValueError: A field is out of range.
        """
        choices = {"normalization": Normalization, "upsampling": Upsampling, "output": Output}
        choices |= {"padding": Padding, "precision": Precision}
        for name, kinds in choices.items():
            among(name, getattr(self, name), get_args(kinds))
        fits = 1 <= len(self.widths) <= 6 and all(1 <= width <= 4096 for width in self.widths)
        check("widths", self.widths, fits, "one to six numbers, 1 to 4096")
        check("blocks", self.blocks, 0 <= self.blocks <= 100, "0 to 100")
        for name in ("scale", "epsilon"):
            value = getattr(self, name)
            check(name, value, 0 < value <= 1e6, "a number above 0, at most 1e6")


class Norm(nn.Module):
    """Normalize channels to mean 0 and variance 1, multiply by gamma, and add beta.

    Attributes:
      frozen: Whether mean and variance are parameters, rather than those of each image.
      epsilon: Added to the variance.
      precision: Precision of the result; it is computed in float32.
    """

    frozen: bool
    epsilon: float
    precision: Precision

    @nn.compact
    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        """Normalize a feature map."""
        x = x.astype(jnp.float32)
        shape = (*(1,) * (x.ndim - 1), x.shape[-1])

        def parameter(name: str, value: nn.initializers.Initializer) -> Array:
            return self.param(name, value, (x.shape[-1],)).astype(jnp.float32).reshape(shape)

        gamma = parameter("gamma", nn.initializers.ones)
        beta = parameter("beta", nn.initializers.zeros)
        if self.frozen:
            mean = parameter("mean", nn.initializers.zeros)
            variance = parameter("variance", nn.initializers.ones)
        else:
            # The mean of squares minus the squared mean would lose digits.
            mean = x.mean((-3, -2), keepdims=True)
            variance = jnp.square(x - mean).mean((-3, -2), keepdims=True)
        factor = gamma / jnp.sqrt(variance + self.epsilon)
        return rounded((x - mean) * factor + beta, self.precision)


_TAPS: dict[Upsampling, list[list[list[int]]]] = {
    "resize": [[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]],
    "transposed": [[[0, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 0, 0]]],
}
"""By output pixel and row of its 2x2 kernel, the rows of the 3x3 kernel that are added up."""


class UpsampleConv(nn.Module):
    """A 3x3 convolution at twice the height and width, computed at the input's resolution.

    A 3x3 kernel covers only 2x2 different pixels of a map whose pixels were doubled, and likewise
    of a map with zeros between its pixels, as in a transposed convolution. So each of the four
    output pixels of an input pixel is a 2x2 convolution of the input, with sums of the 3x3 kernel's
    entries: 16 products instead of 36.

    Attributes:
      width: Output channels.
      upsampling: ``resize``: a convolution of the map with every pixel doubled in both directions;
        ``transposed``: a transposed convolution of stride 2, the kernel's center on the first of
        the four pixels.
      padding: Padding of the enlarged map; for ``transposed``, ``edge`` and ``reflect`` repeat the
        last pixels of the input.
      precision: Precision of the products.
      has_bias: Whether a bias is added.
    """

    width: int
    upsampling: Upsampling
    padding: Padding
    precision: Precision
    has_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h2 w2 d"]:
        """Convolve a feature map, with or without one batch axis."""
        height, width, channels = x.shape[-3:]
        shape = (3, 3, channels, self.width)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(x.dtype)
        bias = None
        if self.has_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.width,)).astype(x.dtype)
        taps = jnp.asarray(np.array(_TAPS[self.upsampling]), kernel.dtype)
        exact = lax.Precision.HIGHEST
        kernel = jnp.einsum("pak,qbl,klcd->abcpqd", taps, taps, kernel, precision=exact)
        kernel = kernel.reshape(2, 2, channels, -1)
        # For doubled pixels, reflection at the border repeats the last pixel.
        x = pad(x, (1, 1), "zero" if self.padding == "zero" else "edge")
        batch = x if x.ndim == 4 else x[None]
        # With one more row and column, since XLA's fast convolutions on a CPU keep the size.
        batch = jnp.pad(batch, [(0, 0), (0, 1), (0, 1), (0, 0)])
        out = canonical_conv((0, 0), (0, 0), PRODUCTS[self.precision], batch, kernel)
        out = out.reshape(*out.shape[:3], 2, 2, -1)
        four = [[out[:, i : i + height, j : j + width, i, j] for j in range(2)] for i in range(2)]
        # (batch, row, row within the four pixels, column, column within them, channels)
        out = jnp.stack([jnp.stack(pair, 3) for pair in four], 2)
        out = out.reshape(-1, 2 * height, 2 * width, self.width)
        return add_bias(out if x.ndim == 4 else out[0], bias)

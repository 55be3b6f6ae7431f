"""Flax modules that the families share."""

import flax.linen as nn
from jaxtyping import Array, Float

from jaxnst.networks.cpu.winograd import KEY
from jaxnst.networks.layers import conv, halving_conv
from jaxnst.recipes.schema import Padding, Precision


class Convolution(nn.Module):
    """A convolution with its parameters, ``kernel`` (HWIO) and, if it has one, ``bias``.

    Attributes:
      width: Output channels.
      side: Of the square kernel.
      padding: What lies beyond the border.
      has_bias: Whether a bias is added.
      halving: None: stride 1, keeping height and width; else stride 2 with this margin.
      precision: Of the products.
    """

    width: int
    side: int = 3
    padding: Padding = "zero"
    has_bias: bool = True
    halving: int | None = None
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch _ _ d"]:
        """Convolve a feature map."""
        shape = (self.side, self.side, x.shape[-1], self.width)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(x.dtype)
        bias = None
        if self.has_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.width,)).astype(x.dtype)
        if self.halving is not None:
            return halving_conv(
                x,
                kernel,
                bias,
                margin=self.halving,
                padding=self.padding,
                precision=self.precision,
            )
        # Beside the kernel where parameters were prepared for a CPU.
        transformed: Array | None = self.get_variable("params", KEY)
        return conv(
            x,
            kernel,
            bias,
            padding=self.padding,
            precision=self.precision,
            transformed=transformed,
        )

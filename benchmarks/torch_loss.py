"""The default recipe's loss in PyTorch: written from its formula, not from jaxnst's code.

Neither jaxnst nor JAX is imported here, so that a process of PyTorch's is one. Pictures, targets
and parameters come in as arrays, channels last; inside they lie as the memory format says.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

EPSILON = 1e-4
PADDING = {"edge": "replicate", "reflect": "reflect"}


class Setting(NamedTuple):
    """What is computed, in plain values that fit into JSON.

    Attributes:
      blocks: Output channels of every convolution, by block.
      padding: What a convolution finds beyond the border.
      exceptions: Convolutions with a padding of their own.
      pooling: ``max`` or ``avg``.
      preprocessing: Order, scale, mean and deviation that the network expects.
      space: The same of the image that is optimized.
      content: Weights by layer.
      style: Weights by layer.
      statistic: ``covariance`` or ``gram``.
      tv: Weight of the total variation.
      chroma: Factor of its colors.
    """

    blocks: list[list[int]]
    padding: str
    exceptions: dict[str, str]
    pooling: str
    preprocessing: dict[str, Any]
    space: dict[str, Any]
    content: dict[str, float]
    style: dict[str, float]
    statistic: str
    tv: float
    chroma: float


class TorchLoss:
    """A loss and its gradient, on PyTorch's default number of threads."""

    def __init__(
        self,
        setting: Setting,
        parameters: Mapping[str, Any],
        memory_format: torch.memory_format,
    ):
        self.setting, self.format = setting, memory_format
        self.wanted = {*setting.content, *setting.style}
        self.convs = {
            name.removesuffix("/kernel"): (
                self._kernel(kernel),
                torch.tensor(np.asarray(parameters[name.replace("kernel", "bias")])),
            )
            for name, kernel in parameters.items()
            if name.endswith("/kernel")
        }

    def aim_at(self, content: Mapping[str, Any], style: Mapping[str, Any]) -> None:
        """Take targets: feature maps and statistics by layer, as arrays."""
        self._aim(
            {k: self.image(v) for k, v in content.items()},
            {k: torch.tensor(np.asarray(v)) for k, v in style.items()},
        )

    @torch.no_grad()
    def aim_at_pictures(self, content: Any, style: Any) -> None:
        """Compute targets from pictures, RGB in [0, 1]."""
        features = self.features(self.image(content))
        seen = self.features(self.image(style))
        self._aim(
            {k: features[k] for k in self.setting.content},
            {k: self.statistic(seen[k]) for k in self.setting.style},
        )

    def _aim(self, content: dict[str, torch.Tensor], style: dict[str, torch.Tensor]) -> None:
        self.content, self.style = content, style
        self.content_norm = {k: v.square().mean() + EPSILON for k, v in content.items()}
        self.style_norm = {k: v.square().sum() + EPSILON for k, v in style.items()}

    def value_and_grad(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Evaluate loss and gradient once."""
        loss = self.loss(image)
        return loss.detach(), torch.autograd.grad(loss, image)[0]

    def loss(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the loss of an image in its space."""
        features = self.features(_decode(image, self.setting.space))
        loss = self.setting.tv * self.total_variation(image)
        for name, weight in self.setting.content.items():
            error = F.mse_loss(features[name], self.content[name])
            loss = loss + weight * error / self.content_norm[name]
        for name, weight in self.setting.style.items():
            error = (self.statistic(features[name]) - self.style[name]).square().sum()
            loss = loss + weight * error / self.style_norm[name]
        return loss

    def features(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the network as deep as the loss looks, on RGB in [0, 1]."""
        setting = self.setting
        x = _encode(x, setting.preprocessing).contiguous(memory_format=self.format)
        found: dict[str, torch.Tensor] = {}
        for block, widths in enumerate(setting.blocks, 1):
            if block > 1:
                x = F.max_pool2d(x, 2) if setting.pooling == "max" else F.avg_pool2d(x, 2)
            for i in range(1, len(widths) + 1):
                name = f"conv{block}_{i}"
                kernel, bias = self.convs[name]
                padding = setting.exceptions.get(name, setting.padding)
                if padding == "zero":
                    x = F.conv2d(x, kernel, bias, padding=1)
                else:
                    x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode=PADDING[padding]), kernel, bias)
                x = F.relu(x, inplace=True)
                if f"relu{block}_{i}" in self.wanted:
                    found[f"relu{block}_{i}"] = x
                if len(found) == len(self.wanted):
                    return found
        raise ValueError(f"the loss asks for {self.wanted}, expected the network's relu layers")

    def statistic(self, x: torch.Tensor) -> torch.Tensor:
        """Covariance with the mean as one more row, or the Gram matrix, over positions."""
        if self.format == torch.channels_last:
            flat = x[0].permute(1, 2, 0).flatten(0, 1)  # a view: channels lie together
            mean, second = flat.mean(0), flat.T @ flat / len(flat)
        else:
            flat = x[0].flatten(1)
            mean, second = flat.mean(1), flat @ flat.T / flat.shape[1]
        if self.setting.statistic == "gram":
            return second
        return torch.cat([second - torch.outer(mean, mean), mean[None]])

    def total_variation(self, image: torch.Tensor) -> torch.Tensor:
        """Mean squared differences of neighbors, those of color weighted on their own."""
        down, right = image.diff(dim=2), image.diff(dim=3)
        total = down.square().mean() + right.square().mean()
        if self.setting.chroma == 1:
            return total
        grey = down.mean(1).square().mean() + right.mean(1).square().mean()
        return grey + self.setting.chroma * (total - grey)

    def image(self, array: Any) -> torch.Tensor:
        """Take a picture or a feature map into PyTorch."""
        tensor = torch.tensor(np.asarray(array)).permute(2, 0, 1)[None]
        return tensor.contiguous(memory_format=self.format)

    def _kernel(self, array: Any) -> torch.Tensor:
        tensor = torch.tensor(np.asarray(array)).permute(3, 2, 0, 1)
        return tensor.contiguous(memory_format=self.format)


def as_array(gradient: torch.Tensor) -> np.ndarray:
    """Return a gradient as ``(H, W, 3)``."""
    return gradient[0].permute(1, 2, 0).numpy()


def _encode(image: torch.Tensor, space: Mapping[str, Any]) -> torch.Tensor:
    image = image.flip(1) if space["order"] == "bgr" else image
    return (image * space["scale"] - _channels(space["mean"])) / _channels(space["deviation"])


def _decode(variable: torch.Tensor, space: Mapping[str, Any]) -> torch.Tensor:
    image = (variable * _channels(space["deviation"]) + _channels(space["mean"])) / space["scale"]
    return image.flip(1) if space["order"] == "bgr" else image


def _channels(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)

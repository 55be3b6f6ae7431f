"""A transformation network in PyTorch, written from the paper's table, not from jaxnst's code.

Neither jaxnst nor JAX is imported here. Pictures and parameters come in as arrays, channels last.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

CONTRAST = 150 / 255


class TorchTransformer:
    """Instance normalization, reflected borders, resized maps, a scaled tanh at the end.

    Args:
      params: Flat, kernels HWIO: ``conv1/kernel``, ``conv1_norm/gamma`` and ``beta``, ``res1_1``,
        ``up1``, ``out``.
      memory_format: Of feature maps.
    """

    def __init__(self, params: Mapping[str, Any], memory_format: torch.memory_format) -> None:
        self.format = memory_format
        self.params = {name: self._tensor(array) for name, array in params.items()}
        layers = {name.split("/")[0] for name in params}
        self.halvings = sum(name.startswith("up") and "_" not in name for name in layers)
        self.blocks = sum(name.startswith("res") and name.endswith("_1") for name in layers)

    def _tensor(self, array: Any) -> torch.Tensor:
        tensor = torch.tensor(np.asarray(array, np.float32))
        if tensor.ndim == 4:
            tensor = tensor.permute(3, 2, 0, 1).contiguous(memory_format=self.format)
        return tensor

    @torch.inference_mode()
    def __call__(self, picture: Any) -> np.ndarray:
        """Paint ``(H, W, 3)`` RGB in [0, 1], of sides that all halvings divide."""
        x = torch.tensor(np.asarray(picture)).permute(2, 0, 1)[None]
        x = x.contiguous(memory_format=self.format)
        x = F.relu(self._layer("conv1", x), inplace=True)
        for i in range(2, self.halvings + 2):
            x = F.relu(self._layer(f"conv{i}", x, stride=2), inplace=True)
        for i in range(1, self.blocks + 1):
            y = F.relu(self._layer(f"res{i}_1", x), inplace=True)
            x = x + self._layer(f"res{i}_2", y)
        for i in range(1, self.halvings + 1):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.relu(self._layer(f"up{i}", x), inplace=True)
        x = self._conv("out", x, bias=self.params["out/bias"])
        x = (0.5 + CONTRAST * torch.tanh(x)).clamp(0, 1)
        return x[0].permute(1, 2, 0).numpy()

    def _conv(
        self, name: str, x: torch.Tensor, stride: int = 1, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        kernel = self.params[f"{name}/kernel"]
        x = F.pad(x, [kernel.shape[-1] // 2] * 4, mode="reflect")
        return F.conv2d(x, kernel, bias, stride)

    def _layer(self, name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        gamma, beta = (self.params[f"{name}_norm/{part}"] for part in ("gamma", "beta"))
        return F.instance_norm(self._conv(name, x, stride), weight=gamma, bias=beta)

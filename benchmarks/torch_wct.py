"""Whitening and coloring in PyTorch, written from the paper, not from jaxnst's code.

Neither jaxnst nor JAX is imported here. Pictures and parameters come in as arrays, channels last.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

LEAST = 1e-5
MODES = {"edge": "replicate", "reflect": "reflect"}

Conv = tuple[str, torch.Tensor, torch.Tensor]


class TorchWCT:
    """One pass over several levels, on PyTorch's default number of threads.

    Args:
      encoder: Flat parameters of the VGG, kernels HWIO.
      padding: Of its convolutions.
      exceptions: Convolutions with a padding of their own.
      mean: Of the network's input.
      deviation: The same.
      decoders: Flat parameters of each level's decoder, in the order in which they run.
      memory_format: Of feature maps.
    """

    def __init__(
        self,
        encoder: Mapping[str, Any],
        padding: str,
        exceptions: Mapping[str, str],
        mean: Sequence[float],
        deviation: Sequence[float],
        decoders: Mapping[int, Mapping[str, Any]],
        memory_format: torch.memory_format,
    ) -> None:
        self.format = memory_format
        self.padding = {**dict.fromkeys((n.split("/")[0] for n in encoder), padding), **exceptions}
        self.encoder = self._convs(encoder)
        self.decoders = {level: self._convs(params) for level, params in decoders.items()}
        self.mean, self.deviation = (
            torch.tensor(values).view(1, 3, 1, 1) for values in (mean, deviation)
        )

    def _convs(self, params: Mapping[str, Any]) -> list[Conv]:
        found = []
        for name in dict.fromkeys(key.split("/")[0] for key in params):
            kernel = torch.tensor(np.asarray(params[f"{name}/kernel"])).permute(3, 2, 0, 1)
            bias = torch.tensor(np.asarray(params[f"{name}/bias"]))
            found.append((name, kernel.contiguous(memory_format=self.format), bias))
        return found

    @torch.inference_mode()
    def __call__(self, content: Any, style: Any, alpha: float) -> np.ndarray:
        """Paint ``content`` in the manner of ``style``, both ``(H, W, 3)`` RGB in [0, 1]."""
        image, painting = self._image(content), self._image(style)
        for level, convs in self.decoders.items():
            features, wanted = self._encode(image, level), self._encode(painting, level)
            moved = alpha * _transformed(features, wanted) + (1 - alpha) * features
            image = self._decode(moved, convs).clamp(0, 1)
        return image[0].permute(1, 2, 0).numpy()

    def _image(self, array: Any) -> torch.Tensor:
        tensor = torch.tensor(np.asarray(array)).permute(2, 0, 1)[None]
        return tensor.contiguous(memory_format=self.format)

    def _encode(self, image: torch.Tensor, level: int) -> torch.Tensor:
        x = (image - self.mean) / self.deviation
        for name, kernel, bias in self.encoder:
            if name.endswith("_1") and name != "conv1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(self._conv(x, kernel, bias, self.padding[name]), inplace=True)
            if name == f"conv{level}_1":
                return x
        raise ValueError(f"the encoder has no level {level}")

    def _decode(self, x: torch.Tensor, convs: list[Conv]) -> torch.Tensor:
        for name, kernel, bias in convs:
            x = self._conv(x, kernel, bias, "edge")
            if name != "conv1_1":
                x = F.relu(x, inplace=True)
                if name.endswith("_1"):
                    x = F.interpolate(x, scale_factor=2, mode="nearest")
        return x

    def _conv(
        self, x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor, padding: str
    ) -> torch.Tensor:
        if padding == "zero":
            return F.conv2d(x, kernel, bias, padding=1)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode=MODES[padding]), kernel, bias)


def _transformed(content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Give a feature map the style's mean and covariance: Li et al. 2017, eqs. 2 and 3."""
    rows = content[0].permute(1, 2, 0).flatten(0, 1)
    mean, values, vectors = _spectrum(rows)
    style_mean, style_values, style_vectors = _spectrum(style[0].permute(1, 2, 0).flatten(0, 1))
    kept = values > LEAST * values[-1]
    inverse = torch.where(kept, values, 1).rsqrt() * kept
    style_kept = style_values > LEAST * style_values[-1]
    root = style_values.clamp(min=0).sqrt() * style_kept
    matrix = (vectors * inverse) @ vectors.T @ (style_vectors * root) @ style_vectors.T
    moved = (rows - mean) @ matrix + style_mean
    return moved.view(*content.shape[2:], -1).permute(2, 0, 1)[None]


def _spectrum(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    mean = rows.mean(0)
    centred = rows - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(rows))
    return mean, values, vectors

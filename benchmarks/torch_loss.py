"""The default recipe's loss in PyTorch: written from its formula, not from jaxnst's code.

Pictures and targets come in as arrays, channels last; inside they lie as the memory format says.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.problem import Problem
from jaxnst.losses import EPSILON

PADDING = {"edge": "replicate", "reflect": "reflect"}


class TorchLoss:
    """A problem's loss and gradient, on PyTorch's default number of threads.

    Attributes:
      image: Where it is evaluated.
    """

    def __init__(self, problem: Problem, memory_format: torch.memory_format):
        self.format = memory_format
        self.objective = problem.objective
        _check_known(problem)
        self.convs = {
            name: (self._kernel(part["kernel"]), torch.tensor(np.asarray(part["bias"])))
            for name, part in problem.params.items()
        }
        targets, numbers = problem.targets, problem.numbers
        self.content = {k: self._image(v) for k, v in targets.content.items()}
        self.content_norm = {k: v.square().mean() + EPSILON for k, v in self.content.items()}
        self.style = {k: torch.tensor(np.asarray(v)) for k, v in targets.style.items()}
        self.style_norm = {k: v.square().sum() + EPSILON for k, v in self.style.items()}
        self.content_weights = dict(
            zip(problem.objective.content_layers, numbers.content.tolist(), strict=True)
        )
        self.style_weights = dict(
            zip(problem.objective.style_layers, numbers.style.tolist(), strict=True)
        )
        self.tv, self.tv_chroma = float(numbers.tv), float(numbers.tv_chroma)
        self.image = self._image(problem.image).requires_grad_()

    def value_and_grad(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Evaluate loss and gradient once."""
        loss = self.loss(self.image)
        return loss.detach(), torch.autograd.grad(loss, self.image)[0]

    def loss(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the loss of an image in the objective's space."""
        features = self.features(_decode(image, self.objective.space))
        loss = self.tv * self.total_variation(image)
        for name, weight in self.content_weights.items():
            error = F.mse_loss(features[name], self.content[name])
            loss = loss + weight * error / self.content_norm[name]
        for name, weight in self.style_weights.items():
            error = (self.statistic(features[name]) - self.style[name]).square().sum()
            loss = loss + weight * error / self.style_norm[name]
        return loss

    def features(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the network as deep as the loss looks."""
        module, wanted = self.objective.network.module, self.objective.layers
        x = _encode(x, self.objective.network.preprocessing).contiguous(memory_format=self.format)
        exceptions = dict(module.exceptions)
        found: dict[str, torch.Tensor] = {}
        for block, widths in enumerate(module.blocks, 1):
            if block > 1:
                x = F.max_pool2d(x, 2) if module.pooling == "max" else F.avg_pool2d(x, 2)
            for i in range(1, len(widths) + 1):
                name = f"conv{block}_{i}"
                kernel, bias = self.convs[name]
                padding = exceptions.get(name, module.padding)
                if padding == "zero":
                    x = F.conv2d(x, kernel, bias, padding=1)
                else:
                    x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode=PADDING[padding]), kernel, bias)
                x = F.relu(x, inplace=True)
                if f"relu{block}_{i}" in wanted:
                    found[f"relu{block}_{i}"] = x
                if len(found) == len(wanted):
                    return found
        raise ValueError(f"the loss asks for {wanted}, expected names of the network's relu layers")

    def statistic(self, x: torch.Tensor) -> torch.Tensor:
        """Covariance with the mean as one more row, or the Gram matrix, over positions."""
        if self.format == torch.channels_last:
            flat = x[0].permute(1, 2, 0).flatten(0, 1)  # a view: channels lie together
            mean, second = flat.mean(0), flat.T @ flat / len(flat)
        else:
            flat = x[0].flatten(1)
            mean, second = flat.mean(1), flat @ flat.T / flat.shape[1]
        if self.objective.statistic == "gram":
            return second
        return torch.cat([second - torch.outer(mean, mean), mean[None]])

    def total_variation(self, image: torch.Tensor) -> torch.Tensor:
        """Mean squared differences of neighbours, those of colour weighted on their own."""
        down, right = image.diff(dim=2), image.diff(dim=3)
        total = down.square().mean() + right.square().mean()
        if self.tv_chroma == 1:
            return total
        grey = down.mean(1).square().mean() + right.mean(1).square().mean()
        return grey + self.tv_chroma * (total - grey)

    def _image(self, array: Any) -> torch.Tensor:
        tensor = torch.tensor(np.asarray(array)).permute(2, 0, 1)[None]
        return tensor.contiguous(memory_format=self.format)

    def _kernel(self, array: Any) -> torch.Tensor:
        tensor = torch.tensor(np.asarray(array)).permute(3, 2, 0, 1)
        return tensor.contiguous(memory_format=self.format)


def as_array(gradient: torch.Tensor) -> np.ndarray:
    """Return a gradient as ``(H, W, 3)``."""
    return gradient[0].permute(1, 2, 0).numpy()


def _encode(image: torch.Tensor, space: Any) -> torch.Tensor:
    image = image.flip(1) if space.order == "bgr" else image
    return (image * space.scale - _channels(space.mean)) / _channels(space.deviation)


def _decode(variable: torch.Tensor, space: Any) -> torch.Tensor:
    image = (variable * _channels(space.deviation) + _channels(space.mean)) / space.scale
    return image.flip(1) if space.order == "bgr" else image


def _channels(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def _check_known(problem: Problem) -> None:
    """Refuse a loss of which only jaxnst knows the formula."""
    o = problem.objective
    known: Mapping[str, tuple[str, ...]] = {
        "content_normalization": ("target",),
        "distance": ("target",),
        "statistic": ("covariance", "gram"),
        "tv_kind": ("squared",),
    }
    for name, values in known.items():
        if getattr(o, name) not in values:
            raise ValueError(
                f"the default recipe's {name} is {getattr(o, name)!r}, but the PyTorch loss knows "
                f"{', '.join(values)}: teach it the new one in benchmarks/torch_loss.py"
            )

"""jcjohnson's neural-style in PyTorch, as a process of its own.

Its loss and its defaults, with PyTorch's L-BFGS without a line search: VGG, Gram matrices, one
scale, from noise. ``python -m benchmarks.torch_neural_style JOB.json``. Neither jaxnst nor JAX is
imported here.
"""

import json
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

CONTENT_LAYER, CONTENT_WEIGHT = "relu4_2", 5.0
STYLE_LAYERS, STYLE_WEIGHT = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), 100.0
TV_WEIGHT = 1e-3
NOISE, PAIRS = 1e-3, 100
MEAN = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
"""Mean of blue, green and red that is subtracted, 0 to 255."""


def main(path: str) -> None:
    """Paint what a job says."""
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    weights = {name: tensor.float() for name, tensor in load_file(job["weights"]).items()}
    content, style = (read_picture(job[name], job["size"]) for name in ("content", "style"))
    with torch.no_grad():
        aim = features(weights, content)[CONTENT_LAYER]
        grams = {name: gram(x) for name, x in features(weights, style).items()}
    torch.manual_seed(0)
    image = (NOISE * torch.randn(content.shape)).requires_grad_()

    def evaluate() -> torch.Tensor:
        solver.zero_grad()
        maps = features(weights, image)
        loss = CONTENT_WEIGHT * F.mse_loss(maps[CONTENT_LAYER], aim)
        for name in STYLE_LAYERS:
            loss = loss + STYLE_WEIGHT * F.mse_loss(gram(maps[name]), grams[name])
        for axis in (2, 3):
            loss = loss + TV_WEIGHT * image.diff(dim=axis).square().sum() / 2
        loss.backward()
        return loss.detach()

    n = job["evaluations"]
    solver = torch.optim.LBFGS(
        [image], max_iter=n, max_eval=n, history_size=PAIRS, tolerance_grad=0, tolerance_change=0
    )
    solver.step(evaluate)
    pixels = ((image.detach() + MEAN) * 255 / 256).clamp(0, 255)[0].flip(0).permute(1, 2, 0)
    Image.fromarray((pixels + 0.5).to(torch.uint8).numpy()).save(job["output"])


def features(weights: dict[str, torch.Tensor], x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Run VGG16 or VGG19, max pooling and zero padding, as deep as the last style layer."""
    maps: dict[str, torch.Tensor] = {}
    for name in sorted(key for key in weights if key.endswith("/kernel")):
        conv = name.removesuffix("/kernel")
        if conv.endswith("_1") and conv != "conv1_1":
            x = F.max_pool2d(x, 2)
        kernel = weights[name].permute(3, 2, 0, 1)
        x = F.relu(F.conv2d(x, kernel, weights[f"{conv}/bias"], padding=1))
        maps[conv.replace("conv", "relu")] = x
        if STYLE_LAYERS[-1] in maps:
            break
    return maps


def gram(x: torch.Tensor) -> torch.Tensor:
    """Return the products of a map's channels, over its number of elements."""
    flat = x[0].flatten(1)
    return flat @ flat.T / flat.numel()


def read_picture(path: str, size: int) -> torch.Tensor:
    """Return a picture of a longest side, ``(1, 3, H, W)``, BGR in 0 ... 256 less the mean."""
    picture = Image.open(path).convert("RGB")
    factor = size / max(picture.size)
    width, height = (max(round(side * factor), 1) for side in picture.size)
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS), np.float32)
    return torch.tensor(pixels).permute(2, 0, 1).flip(0)[None] * (256 / 255) - MEAN


if __name__ == "__main__":
    main(sys.argv[1])

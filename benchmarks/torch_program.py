"""A style transfer in PyTorch from start to end, as a process of its own.

The same network, loss, scales and evaluations as jaxnst's default recipe, with PyTorch's own L-BFGS
at a fixed step: ``python -m benchmarks.torch_program JOB.json``. Neither
jaxnst nor JAX is imported here.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from benchmarks.torch_loss import Setting, TorchLoss


def main(path: str) -> None:
    """Paint what a job says, and print what came of it as JSON."""
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    weights = {name: tensor.float() for name, tensor in load_file(job["weights"]).items()}
    loss = TorchLoss(Setting(**job["setting"]), weights, torch.channels_last)
    content, style = (Image.open(job[name]).convert("RGB") for name in ("content", "style"))
    image: torch.Tensor | None = None
    final, seconds = float("nan"), 0.0
    for scale in job["scales"]:
        height, width = scale["size"]
        pictures = _array(content, height, width), _array(style, *scale["style"])
        loss.aim_at_pictures(*pictures)
        if image is None:
            image = loss.image(pictures[0])
        else:
            image = F.interpolate(image, (height, width), mode="bicubic", align_corners=False)
        image = image.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        begin = time.perf_counter()
        final = minimise(loss, image, scale["evaluations"])
        seconds += time.perf_counter() - begin
    assert image is not None
    height, width = job["size"]
    image = F.interpolate(image.detach(), (height, width), mode="bicubic", align_corners=False)
    pixels = (255 * image[0].permute(1, 2, 0).clamp(0, 1) + 0.5).to(torch.uint8).numpy()
    Image.fromarray(pixels).save(job["output"])
    print(json.dumps({"loss": final, "seconds": seconds}))


def minimise(loss: TorchLoss, image: torch.Tensor, evaluations: int) -> float:
    """Move an image downhill in place; return the last loss."""
    solver = torch.optim.LBFGS(
        [image],
        max_iter=evaluations,
        max_eval=evaluations,
        history_size=10,
        tolerance_grad=0,
        tolerance_change=0,
    )
    last = torch.zeros(())

    def evaluate() -> torch.Tensor:
        nonlocal last
        last, image.grad = loss.value_and_grad(image)
        return last

    solver.step(evaluate)
    return last.item()


def _array(picture: Image.Image, height: int, width: int) -> Any:
    small = picture.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(small, np.float32) / 255


if __name__ == "__main__":
    main(sys.argv[1])

"""On a GPU: a picture with VGG19, and pictures in a batch. Elsewhere its rows say so.

The picture is 512 px, 500 evaluations, feature maps in bfloat16, after compilation; PyTorch runs
the same under autocast. What convolutions alone reach is measured beside it: the ceiling.
"""

import importlib.util
import time
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxnst
from benchmarks.growth import picture
from benchmarks.measure import Row, interleaved, timed
from benchmarks.peer import setting_of
from jaxnst.networks import init_network
from jaxnst.recipes import get_recipe
from jaxnst.transfer.memory import cost_of

SIZE, EVALUATIONS = 512, 500
BATCH, BATCH_SIZE, BATCH_EVALUATIONS = 16, 256, 100
SECONDS = 1.5
"""Bar of the picture, on an H200."""


def run(*, quick: bool) -> list[Row]:
    """Time both, or say why not."""
    if jax.default_backend() != "gpu":
        note = f"not measured: JAX runs on {jax.default_backend()}"
        return [
            Row(benchmark="gpu", case=case, what="jaxnst", note=note)
            for case in (_picture_case(SIZE, EVALUATIONS), _batch_case())
        ]
    return [*_picture(quick), *_batch(quick)]


def _picture_case(size: int, evaluations: int) -> str:
    return f"vgg19, {size} px, {evaluations} evaluations, bfloat16"


def _batch_case() -> str:
    return f"vgg19, {BATCH_SIZE} px, {BATCH_EVALUATIONS} evaluations, per picture"


def _recipe(evaluations: int) -> jaxnst.Recipe:
    recipe = get_recipe("default")
    scales = replace(recipe.scales, several=False, evaluations=(evaluations,))
    return replace(recipe, scales=scales)


def _picture(quick: bool) -> list[Row]:
    size, evaluations = (128, 20) if quick else (SIZE, EVALUATIONS)
    network, recipe = init_network("vgg19"), _recipe(evaluations)
    rng = np.random.default_rng(0)
    content, style = picture(rng, size), picture(rng, size)

    def ours() -> float:
        result = jaxnst.stylize(
            content, style, network=network, recipe=recipe, precision="bfloat16"
        )
        return result.run_seconds

    ours()
    seconds = [ours() for _ in range(3)]
    area = content.shape[0] * content.shape[1]
    flops = 2 * cost_of(recipe, network).multiply_adds * area * evaluations
    ceiling = _ceiling()
    case = _picture_case(size, evaluations)
    theirs = _torch_seconds(recipe, network, content, style, evaluations)
    rows = [
        Row(
            benchmark="gpu",
            case=case,
            what="jaxnst",
            seconds=tuple(seconds),
            ratio=median(seconds) / median(theirs) if theirs else None,
            bar=None if quick or not theirs else 0.8,
            note=f"{flops / median(seconds) / ceiling:.0%} of the convolutions' own "
            f"{ceiling / 1e12:.0f} TFLOP/s; bar {SECONDS} s on an H200",
            details={"flops": flops, "ceiling": ceiling},
        )
    ]
    note = "" if theirs else "PyTorch with CUDA is not installed"
    return [*rows, Row(benchmark="gpu", case=case, what="torch", seconds=theirs, note=note)]


def _ceiling() -> float:
    """Measure what a chain of large convolutions reaches, operations per second."""
    side, channels, count = 128, 256, 50
    x = jnp.ones((4, side, side, channels), jnp.bfloat16)
    kernel = jnp.full((3, 3, channels, channels), 1e-3, jnp.bfloat16)

    @jax.jit
    def chain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        numbers = ("NHWC", "HWIO", "NHWC")
        once = partial(lax.conv_general_dilated, dimension_numbers=numbers)
        return lax.fori_loop(0, count, lambda _, x: once(x, kernel, (1, 1), "SAME"), x)

    def task() -> None:
        jax.block_until_ready(chain(x, kernel))

    task()
    return 2 * 9 * x.size * channels * count / median(timed(task) for _ in range(5))


def _torch_seconds(
    recipe: jaxnst.Recipe,
    network: jaxnst.LossNetwork,
    content: np.ndarray,
    style: np.ndarray,
    evaluations: int,
) -> tuple[float, ...]:
    """Time PyTorch on the same, or return nothing where it has no GPU."""
    if importlib.util.find_spec("torch") is None:
        return ()
    import torch

    from benchmarks.torch_loss import TorchLoss
    from benchmarks.torch_program import minimise

    if not torch.cuda.is_available():
        return ()
    parameters: dict[str, Any] = {
        f"{layer}/{part}": np.asarray(array)
        for layer, arrays in network.params.items()
        for part, array in arrays.items()
    }
    seconds = []
    with torch.device("cuda"), torch.autocast("cuda", torch.bfloat16):
        loss = TorchLoss(setting_of(recipe, network), parameters, torch.channels_last)
        loss.aim_at_pictures(content, style)
        for _ in range(4):
            image = loss.image(content).requires_grad_()
            torch.cuda.synchronize()
            begin = time.perf_counter()
            minimise(loss, image, evaluations)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begin)
    return tuple(seconds[1:])


def _batch(quick: bool) -> list[Row]:
    size, evaluations, count = (64, 5, 2) if quick else (BATCH_SIZE, BATCH_EVALUATIONS, BATCH)
    network, recipe = init_network("vgg19"), _recipe(evaluations)
    rng = np.random.default_rng(0)
    pictures = [picture(rng, size) for _ in range(2 * count)]
    given = {"network": network, "recipe": recipe, "precision": "bfloat16"}
    tasks = {
        "single": lambda: jaxnst.stylize(pictures[0], pictures[1], **given),
        f"batch of {count}": lambda: jaxnst.stylize_batch(
            pictures[:count], pictures[count:], **given
        ),
    }
    for task in tasks.values():
        task()
    found = interleaved(tasks, 1 if quick else 3)
    single, batch = (
        tuple(s / n for s in found[what]) for what, n in zip(tasks, (1, count), strict=True)
    )
    ratio = median(batch) / median(single)
    return [
        Row(benchmark="gpu", case=_batch_case(), what="single", seconds=single),
        Row(
            benchmark="gpu",
            case=_batch_case(),
            what=f"batch of {count}",
            seconds=batch,
            ratio=ratio,
            bar=None if quick else 0.5,
        ),
    ]

"""A frame through a transformation network: against the same in PyTorch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnst
from benchmarks.measure import Row
from benchmarks.painters import Painter, both_layouts, flat, race
from benchmarks.process import CONTENT
from jaxnst.feedforward import Model, TransformationNetwork, apply_model

SIZE, QUICK = (384, 512), (64, 96)
BAR = 0.9
WIDTHS = {"widths of jaxnst train": (16, 32, 64), "widths of the paper": (32, 64, 128)}
TOLERANCE = 1e-3
"""Greatest difference of two values of the pictures."""


def run(*, quick: bool) -> list[Row]:
    """Time a frame."""
    return [row for name, widths in WIDTHS.items() for row in _frames(name, widths, quick)]


def _frames(name: str, widths: tuple[int, ...], quick: bool) -> list[Row]:
    size = QUICK if quick else SIZE
    picture = np.clip(jaxnst.resize(jaxnst.load_image(CONTENT), size), 0, 1)
    module = TransformationNetwork(widths)
    params = module.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    model = Model("random", module, params)

    def torch_painter(layout: Any) -> Painter:
        from benchmarks.torch_transformer import TorchTransformer

        peer = TorchTransformer(flat(params), layout)
        return lambda: peer(picture)

    return race(
        "apply",
        f"{name}, {size[1]}x{size[0]}",
        lambda: np.asarray(apply_model(model, picture)),
        both_layouts(torch_painter),
        tolerance=TOLERANCE,
        rounds=1 if quick else 15,
        bar=None if quick else BAR,
    )

"""A frame through a transformation network: against the same in PyTorch.

PyTorch runs in both of its memory layouts and the faster counts. Before anything is timed, both
must paint the same picture.
"""

import importlib.util
from collections.abc import Callable
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np

import jaxnst
from benchmarks.measure import Row, interleaved
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

    def ours() -> np.ndarray:
        return np.asarray(apply_model(model, picture))

    theirs = _torch_frames(model, picture)
    for peer, task in theirs.items():
        found = float(np.abs(task() - ours()).max())
        if not found <= TOLERANCE:
            raise AssertionError(
                f"{peer} paints a picture that is {found:.1e} from jaxnst's, expected at most "
                f"{TOLERANCE:g}: another function would be timed"
            )
    seconds = interleaved({"jaxnst": ours, **theirs}, rounds=1 if quick else 15)
    fastest = min((median(seconds[peer]) for peer in theirs), default=None)
    rows = []
    for what, several in seconds.items():
        own = what == "jaxnst" and fastest is not None
        rows.append(
            Row(
                benchmark="apply",
                case=f"{name}, {size[1]}x{size[0]}",
                what=what,
                seconds=tuple(several),
                ratio=median(several) / fastest if own else None,
                bar=BAR if own and not quick else None,
            )
        )
    return rows


def _torch_frames(model: Model, picture: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    if importlib.util.find_spec("torch") is None or jax.default_backend() != "cpu":
        return {}
    import torch

    from benchmarks.torch_transformer import TorchTransformer

    flat = {
        f"{layer}/{part}": array
        for layer, parts in model.params.items()
        for part, array in parts.items()
    }

    def a_frame(layout: torch.memory_format) -> Callable[[], np.ndarray]:
        peer = TorchTransformer(flat, layout)
        return lambda: peer(picture)

    layouts = {"first": torch.contiguous_format, "last": torch.channels_last}
    return {f"torch, channels {name}": a_frame(layout) for name, layout in layouts.items()}

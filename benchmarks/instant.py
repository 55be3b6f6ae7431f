"""One pass of whitening and colouring: against the same in PyTorch, and as a whole process.

PyTorch runs in both of its memory layouts and the faster counts; it sees the same pictures, of the
size that jaxnst's frame has, and looks at the style each time, as jaxnst does here. Before anything
is timed, both must paint the same picture.
"""

import importlib.util
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnst
from benchmarks.measure import Row, interleaved, timed
from benchmarks.process import CONTENT, STYLE, process
from jaxnst.feedforward.decoders import Autoencoder, load_autoencoders
from jaxnst.feedforward.one_pass import Instant
from jaxnst.feedforward.wct import summarize_style, transfer

SIZE, QUICK = (384, 512), (64, 96)
ALPHA = 0.6
BARS = {"ratio": 0.9, "seconds": 2.0, "process seconds": 6.0}
TOLERANCE = 0.02
"""Greatest mean absolute difference of the two pictures: eigenvectors of values that are almost
alike are told apart by rounding."""


def run(*, quick: bool) -> list[Row]:
    """Time a pass, and a process."""
    return [*_passes(quick), *_processes(quick)]


def _passes(quick: bool) -> list[Row]:
    size = QUICK if quick else SIZE
    shipped = load_autoencoders("vgg19-lite")
    levels = tuple(shipped[level] for level in Instant().levels)
    params = tuple((level.encoder.params, level.params) for level in levels)
    pictures = (jaxnst.load_image(path) for path in (CONTENT, STYLE))
    content, style = (np.clip(jaxnst.resize(picture, size), 0, 1) for picture in pictures)

    def ours() -> np.ndarray:
        found = summarize_style(levels, "whiten", params, jnp.asarray(style), (None,) * len(levels))
        styles = jax.tree.map(lambda leaf: leaf[None], found)
        given = jnp.asarray(content)[None], styles, jnp.float32(ALPHA), (None,) * len(levels)
        return np.asarray(transfer(levels, "whiten", params, *given))[0]

    theirs = _torch_passes(levels, content, style)
    for name, task in theirs.items():
        found = float(np.abs(task() - ours()).mean())
        if not found <= TOLERANCE:
            raise AssertionError(
                f"{name} paints a picture that is {found:.3f} from jaxnst's, expected at most "
                f"{TOLERANCE}: another function would be timed"
            )
    seconds = interleaved({"jaxnst": ours, **theirs}, rounds=1 if quick else 7)
    fastest = min((median(seconds[name]) for name in theirs), default=None)
    case = f"vgg19-lite, levels {levels[0].level} to 1, {size[1]}x{size[0]}"
    rows = []
    for name, several in seconds.items():
        own = name == "jaxnst" and fastest is not None
        rows.append(
            Row(
                benchmark="instant",
                case=case,
                what=name,
                seconds=tuple(several),
                ratio=median(several) / fastest if own else None,
                bar=BARS["ratio"] if own and not quick else None,
                note=f"at most {BARS['seconds']:g} s" if name == "jaxnst" else "",
            )
        )
    return rows


def _torch_passes(
    levels: tuple[Autoencoder, ...], content: np.ndarray, style: np.ndarray
) -> dict[str, Callable[[], np.ndarray]]:
    if importlib.util.find_spec("torch") is None or jax.default_backend() != "cpu":
        return {}
    import torch

    from benchmarks.torch_wct import TorchWCT

    network = levels[0].encoder
    module: Any = network.module

    def a_pass(layout: torch.memory_format) -> Callable[[], np.ndarray]:
        peer = TorchWCT(
            _flat(network.params),
            module.padding,
            dict(module.exceptions),
            network.preprocessing.mean,
            network.preprocessing.deviation,
            {level.level: _flat(_in_order(level)) for level in levels},
            layout,
        )
        return lambda: peer(content, style, ALPHA)

    layouts = {"first": torch.contiguous_format, "last": torch.channels_last}
    return {f"torch, channels {name}": a_pass(layout) for name, layout in layouts.items()}


def _in_order(level: Autoencoder) -> dict[str, Any]:
    return {name: level.params[name] for name in level.decoder.layers()}


def _flat(params: Any) -> dict[str, Any]:
    return {
        f"{layer}/{part}": array for layer, parts in params.items() for part, array in parts.items()
    }


def _processes(quick: bool) -> list[Row]:
    size = max(QUICK if quick else SIZE)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "jaxnst", "instant", str(CONTENT), str(STYLE), "--quiet"]
        command += ["--size", str(size), "-o", str(Path(folder) / "out.png")]
        cache = {"JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "cache")}
        seconds = [timed(lambda: process(command, **cache)) for _ in range(2 if quick else 4)]
    case = f"jaxnst instant, {size} px, whole process"
    note = f"at most {BARS['process seconds']:g} s"
    return [
        Row(benchmark="instant", case=case, what="cold", seconds=tuple(seconds[:1])),
        Row(benchmark="instant", case=case, what="warm", seconds=tuple(seconds[1:]), note=note),
    ]

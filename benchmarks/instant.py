"""One pass of whitening and coloring: against the same in PyTorch, and as a whole process.

PyTorch sees the same pictures, of the size that jaxnst's frame has, and looks at the style each
time, as jaxnst does here.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnst
from benchmarks.measure import Row, timed
from benchmarks.painters import Painter, both_layouts, flat, race
from benchmarks.process import CONTENT, STYLE, process
from jaxnst.feedforward.decoders import Autoencoder, load_autoencoders
from jaxnst.feedforward.instant import lapack_on_one_thread
from jaxnst.feedforward.settings import Instant
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

    @lapack_on_one_thread()  # as OnePass does
    def ours() -> np.ndarray:
        found = summarize_style(levels, "whiten", params, jnp.asarray(style), (None,) * len(levels))
        styles = jax.tree.map(lambda leaf: leaf[None], found)
        given = jnp.asarray(content), styles, jnp.float32(ALPHA), (None,) * len(levels)
        return np.asarray(transfer(levels, "whiten", params, *given))

    return race(
        "instant",
        f"vgg19-lite, levels {levels[0].level} to 1, {size[1]}x{size[0]}",
        ours,
        _torch_passes(levels, content, style),
        tolerance=TOLERANCE,
        distance=np.mean,
        rounds=1 if quick else 7,
        bar=None if quick else BARS["ratio"],
        note=f"at most {BARS['seconds']:g} s",
    )


def _torch_passes(
    levels: tuple[Autoencoder, ...], content: np.ndarray, style: np.ndarray
) -> dict[str, Painter]:
    network = levels[0].encoder
    module: Any = network.module

    def torch_painter(layout: Any) -> Painter:
        from benchmarks.torch_wct import TorchWCT

        peer = TorchWCT(
            flat(network.params),
            module.padding,
            dict(module.exceptions),
            network.preprocessing.mean,
            network.preprocessing.deviation,
            {level.level: flat(_in_order(level)) for level in levels},
            layout,
        )
        return lambda: peer(content, style, ALPHA)

    return both_layouts(torch_painter)


def _in_order(level: Autoencoder) -> dict[str, Any]:
    return {name: level.params[name] for name in level.decoder.layers()}


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

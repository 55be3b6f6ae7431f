"""Whether a picture painted in tiles has seams: steps between pixels at the tiles' borders.

A step is the difference between two neighboring lines of pixels, mean over the line and the colors.
Those at a border are compared with the 32 beside it, so that what the picture shows there counts
little. The note gives the same ratio for lines where no tile ends, in the same picture: how far
these are from 1 shows what chance does.
"""

import math
from collections.abc import Sequence

import numpy as np

import jaxnst
from benchmarks.measure import Row
from benchmarks.process import ROOT
from jaxnst.losses.objective import make_objective

SIZE, TILE = 2048, 512
BESIDE = 16
MOVES = tuple(range(-96, 97, 8))
BAR = 1.02


def run(*, quick: bool) -> list[Row]:
    """Paint the example landscape in tiles, and look at their borders."""
    size, tile = (384, 288) if quick else (SIZE, TILE)
    recipe, network = jaxnst.get_recipe("default"), jaxnst.load_network("vgg16-lite")
    content, style = ROOT / "examples/content.jpg", ROOT / "examples/strokes.jpg"
    few = {"steps": 12} if quick else {}
    picture = jaxnst.stylize(
        content, style, network=network, recipe=recipe, size=size, tile=tile, **few
    ).image
    objective = make_objective(recipe, network, tile=tile)
    tiling = objective.tiling(objective.layers, picture.shape[:2])
    assert tiling is not None, "the picture is a single tile"
    axes = {"rows": (picture, tiling.rows), "columns": (picture.swapaxes(0, 1), tiling.columns)}
    rows = []
    for name, (lines, axis) in axes.items():
        borders = [begin for _, begin, _ in axis.places()[1:]]
        if not borders:
            continue
        steps_between = np.abs(np.diff(lines, axis=0)).mean(axis=(1, 2))
        ratio = _ratio(steps_between, borders)
        chance = [_ratio(steps_between, [b + m for b in borders]) for m in MOVES if m]
        rows.append(
            Row(
                benchmark="seams",
                case=f"default, {size} px in tiles of {tile}, {name}",
                what="steps at the tiles' borders / beside them",
                ratio=ratio,
                bar=None if quick else BAR,
                note=f"elsewhere {min(chance):.3f} to {max(chance):.3f}",
                details={"borders": borders, "elsewhere": chance},
            )
        )
    return rows


def _ratio(steps: np.ndarray, borders: Sequence[int]) -> float:
    """Compare the steps over some borders with those beside them: geometric mean of the ratios."""
    ratios = []
    for border in borders:
        at = border - 1  # steps[i] is between lines i and i + 1
        beside = np.delete(steps[at - BESIDE : at + BESIDE + 1], BESIDE)
        ratios.append(steps[at] / beside.mean())
    return math.exp(np.log(ratios).mean())

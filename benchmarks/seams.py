"""Whether a picture painted in tiles has seams: steps between pixels at the tiles' borders.

A step is the difference between two neighboring pixels, mean over the colors. Each is divided by
the mean of the 33 steps around it, so that areas with much and with little contrast count alike,
and those across the borders are compared with those of the whole picture. The note gives the same
ratio for lines beside the borders: how far these are from 1 shows what chance does.
"""

import numpy as np
from scipy.ndimage import uniform_filter1d

import jaxnst
from benchmarks.measure import Row
from benchmarks.process import ROOT
from jaxnst.losses.objective import make_objective

SIZE, TILE = 2048, 512
AROUND = 33
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
        steps = np.abs(np.diff(lines, axis=0)).mean(axis=2)
        relative = (steps / (uniform_filter1d(steps, AROUND, axis=0) + 1e-6)).mean(axis=1)
        # Steps i are between lines i and i + 1.
        ratios = [relative[np.array(borders) - 1 + move].mean() for move in MOVES] / relative.mean()
        ratio, chance = ratios[MOVES.index(0)], np.delete(ratios, MOVES.index(0))
        rows.append(
            Row(
                benchmark="seams",
                case=f"default, {size} px in tiles of {tile}, {name}",
                what="steps at the tiles' borders / elsewhere",
                ratio=float(ratio),
                bar=None if quick else BAR,
                note=f"beside them {min(chance):.3f} to {max(chance):.3f}",
                details={"borders": borders, "beside": chance.tolist()},
            )
        )
    return rows

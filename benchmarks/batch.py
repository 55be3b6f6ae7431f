"""Pairs side by side in one program against the same pairs one after the other, all compiled."""

from dataclasses import replace

import numpy as np

import jaxnst
from benchmarks.measure import Row, interleaved
from jaxnst.recipes import get_recipe

PAIRS, SIZE, EVALUATIONS = 8, 192, 100


def run(*, quick: bool) -> list[Row]:
    """Time eight pairs both ways, with the network that ships."""
    size, evaluations = (64, 3) if quick else (SIZE, EVALUATIONS)
    network = jaxnst.load_network("vgg19-lite")
    recipe = get_recipe("default")
    recipe = replace(
        recipe, scales=replace(recipe.scales, several=False, evaluations=(evaluations,))
    )
    rng = np.random.default_rng(0)
    contents = [_picture(rng, size) for _ in range(PAIRS)]
    styles = [_picture(rng, size) for _ in range(PAIRS)]
    given = {"network": network, "recipe": recipe}

    def together() -> None:
        jaxnst.stylize_batch(contents, styles, **given)

    def one_by_one() -> None:
        for content, style in zip(contents, styles, strict=True):
            jaxnst.stylize(content, style, **given)

    tasks = {"one by one": one_by_one, "side by side": together}
    for task in tasks.values():
        task()
    seconds = interleaved(tasks, 1 if quick else 3)
    base = float(np.median(seconds["one by one"]))
    return [
        Row(
            benchmark="batch",
            case=f"{PAIRS} pairs, {size} px, {evaluations} evaluations",
            what=what,
            seconds=tuple(several),
            ratio=float(np.median(several)) / base,
            bar=0.95 if what == "side by side" else None,
        )
        for what, several in seconds.items()
    ]


def _picture(rng: np.random.Generator, size: int) -> np.ndarray:
    """A smooth random picture, 4:3."""
    coarse = rng.uniform(size=(6, 8, 3)).astype(np.float32)
    return np.clip(jaxnst.resize(coarse, (3 * size // 4, size)), 0, 1)

"""Pairs side by side in one program against the same pairs one after the other.

Against runs in one process, all compiled, and against a process for each with a warm cache.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import jaxnst
from benchmarks.growth import picture
from benchmarks.measure import Row, timed
from benchmarks.process import process
from jaxnst.recipes import format_recipe, get_recipe

PAIRS, SIZE, EVALUATIONS = 8, 192, 100
QUICK_PAIRS = 2
BARS = {"one by one": 0.95, "a process each": 0.5}


def run(*, quick: bool) -> list[Row]:
    """Time eight pairs in the three ways, with the network that ships."""
    size, evaluations = (64, 3) if quick else (SIZE, EVALUATIONS)
    count = QUICK_PAIRS if quick else PAIRS
    network, recipe = jaxnst.load_network("vgg16-lite"), get_recipe("default")
    scales = replace(recipe.scales, several=False, evaluations=(evaluations,))
    recipe = replace(recipe, scales=scales)
    rng = np.random.default_rng(0)
    contents, styles = ([picture(rng, size) for _ in range(count)] for _ in range(2))
    finals: dict[str, list[float]] = {}

    def together() -> None:
        results = jaxnst.stylize_batch(contents, styles, network=network, recipe=recipe)
        finals["together"] = [float(result.losses["total"][-1]) for result in results]

    def one_by_one() -> None:
        pairs = zip(contents, styles, strict=True)
        results = [jaxnst.stylize(c, s, network=network, recipe=recipe) for c, s in pairs]
        finals["apart"] = [float(result.losses["total"][-1]) for result in results]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "recipe.toml").write_text(format_recipe(recipe), encoding="utf-8")
        for kind, pictures in (("content", contents), ("style", styles)):
            for i, array in enumerate(pictures):
                jaxnst.save_image(str(folder / f"{kind}{i}.png"), array)

        def processes(count: int = count) -> None:
            for i in range(count):
                command = [sys.executable, "-m", "jaxnst", "run", "--quiet"]
                command += [str(folder / f"content{i}.png"), str(folder / f"style{i}.png")]
                command += ["--recipe", str(folder / "recipe.toml"), "--size", str(size)]
                command += ["-o", str(folder / "out.png")]
                process(command, JAX_COMPILATION_CACHE_DIR=str(folder / "cache"))

        tasks = {"side by side": together, "one by one": one_by_one, "a process each": processes}
        together()
        one_by_one()
        processes(1)  # fills the cache of compiled programs
        seconds = {what: timed(task) for what, task in tasks.items()}
    difference = max(abs(a / b - 1) for a, b in zip(*finals.values(), strict=True))
    return [
        Row(
            benchmark="batch",
            case=f"{count} pairs, {size} px, {evaluations} evaluations",
            what=what if what == "side by side" else f"side by side / {what}",
            seconds=(took,),
            ratio=seconds["side by side"] / took if what in BARS else None,
            bar=None if quick else BARS.get(what),
            note=f"final losses within {difference:.2%}" if what == "one by one" else "",
        )
        for what, took in seconds.items()
    ]

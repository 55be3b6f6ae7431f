"""Render a set of small runs, to tell whether a change of the code changes any picture.

    python scripts/reference_runs.py before.npz     # at one commit
    python scripts/reference_runs.py after.npz      # at another
    python scripts/reference_runs.py after.npz --compare before.npz

Every run has an entry with its pixels and one with its losses; the digests of the bundled weights
are kept beside them, and files with different weights are not compared. Only public names are used,
so that the script runs before and after a change of the layout. Byte-identical results can be
expected on one machine with one number of threads.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import jaxnst

ROOT = Path(__file__).parent.parent
SIZE = 96
TOLERANCE = 1e-5
"""Greatest difference of a pixel that is not reported as an error."""


def pictures() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the example content and two styles."""
    content = jaxnst.load_image(ROOT / "examples/content.jpg")
    first, second = (jaxnst.load_image(ROOT / f"examples/{n}.jpg") for n in ("shapes", "strokes"))
    return content, first, second


def run_all() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the name, the picture and the losses of every run."""
    content, style, other = pictures()

    def painted(name: str, *arguments: object, **options: object):
        result = jaxnst.stylize(content, *arguments, size=SIZE, **options)
        return name, result.image, result.losses["total"]

    short = with_scales(jaxnst.get_recipe("default"), steps=12)
    yield painted("default, one style", style, recipe=short)
    yield painted("default, two styles", [style, other], recipe=short, style_mix=(1, 2))
    left = np.zeros(content.shape[:2], np.float32)
    left[:, : content.shape[1] // 2] = 1
    yield painted("masks", [style, other], recipe=short, masks=[left, 1 - left])
    for mode in ("content-luminance", "linear", "histogram"):
        recipe = replace(short, colors=replace(short.colors, mode=mode))
        yield painted(f"colors {mode}", style, recipe=recipe)
    for name in jaxnst.recipes.RECIPES:
        recipe = jaxnst.get_recipe(name)
        sides = {"sides": (64, SIZE)} if recipe.scales.sides else {}
        recipe = with_scales(recipe, steps=3, **sides)
        yield painted(f"recipe {name}", style, recipe=recipe, network="vgg16-lite")
    yield painted("resumed", style, recipe=short, resume=_checkpoint(content, style, short))
    batch = jaxnst.stylize_batch(
        [content] * 4, [style, other, style, other], recipe=short, size=SIZE, seed=[0, 1, 2, 3]
    )
    for index, result in enumerate(batch):
        yield f"batch {index}", result.image, result.losses["total"]
    none = np.zeros(0, np.float32)
    yield "instant", jaxnst.instant(content, style, size=SIZE), none
    for name in jaxnst.bundled_models():
        yield f"apply {name}", jaxnst.apply_model(jaxnst.load_model(name), content), none
    for what in (jaxnst.reconstruct_content, jaxnst.reconstruct_style):
        (result,) = what(content, "relu2_1", size=64)
        yield what.__name__, result.image, np.array([result.loss])


def with_scales(recipe: jaxnst.Recipe, **changes: object) -> jaxnst.Recipe:
    """Change some fields of a recipe's pyramid."""
    return replace(recipe, scales=replace(recipe.scales, **changes))


def _checkpoint(content: np.ndarray, style: np.ndarray, recipe: jaxnst.Recipe) -> jaxnst.Checkpoint:
    """Return a checkpoint from the middle of a run."""
    kept: list[jaxnst.Checkpoint] = []

    def keep(progress: jaxnst.Progress) -> None:
        if progress.total_done >= 6 and not kept:
            kept.append(progress.checkpoint())

    jaxnst.stylize(content, style, recipe=recipe, size=SIZE, callback=keep, every=1)
    return kept[0]


def weights_digest() -> str:
    """Return one SHA-256 of all weights that ship."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "weights").rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def compare(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> int:
    """Print what differs and return how many entries differ by more than the tolerance."""
    if before.pop("weights") != after.pop("weights"):
        sys.exit("the bundled weights differ: the runs cannot be compared")
    wrong = 0
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            print(f"{name}: only {'before' if name in before else 'after'}")
            wrong += 1
        elif before[name].shape != after[name].shape:
            print(f"{name}: shapes {before[name].shape} and {after[name].shape}")
            wrong += 1
        elif not np.array_equal(before[name], after[name]):
            difference = np.abs(before[name] - after[name]).max()
            if name.endswith("losses"):
                difference /= np.abs(before[name]).max()
            wrong += bool(difference > TOLERANCE)
            print(f"{name}: greatest difference {difference:.2g}")
    print(f"{len(before)} entries, {wrong} of them differ by more than {TOLERANCE:g}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--compare", type=Path, metavar="BEFORE", help="compare, do not render")
    arguments = parser.parse_args()
    if arguments.compare:
        files = (dict(np.load(path)) for path in (arguments.compare, arguments.file))
        sys.exit(bool(compare(*files)))
    entries: dict[str, np.ndarray] = {"weights": np.array(weights_digest())}
    for name, image, losses in run_all():
        print(name, flush=True)
        entries[f"{name}, image"] = image
        if np.size(losses):
            entries[f"{name}, losses"] = np.asarray(losses)
    np.savez_compressed(arguments.file, **entries)


if __name__ == "__main__":
    main()

"""Paint training pictures for ``distill.py --painted`` with a student, as optimization leaves them.

    python scripts/paint_training.py --data DIR --weights runs/lite/vgg16-lite.safetensors \
        --count 200 --out runs/painted

Contents and styles are squares of the pictures that ``distill.py`` trains on. Starts, weights and
numbers of evaluations vary, so that half-finished pictures and heavy styles are among them. What is
in the folder already is kept: the same command paints what is missing.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from distill import LEFT_OUT

import jaxnst

SIDES = (192, 256)


def square(path: Path, side: int, rng: np.random.Generator) -> np.ndarray:
    """Read a picture, resize its shorter side and cut a random square out of it."""
    image = jaxnst.load_image(path)
    scale = side / min(image.shape[:2])
    height, width = (max(side, round(n * scale)) for n in image.shape[:2])
    image = np.clip(jaxnst.resize(image, (height, width)), 0, 1)
    y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
    return image[y : y + side, x : x + side]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAXNST_SHARED"))
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("runs/painted"))
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("--data DIR (or JAXNST_SHARED) must name the folder of pictures")
    arguments.out.mkdir(parents=True, exist_ok=True)
    folder = Path(arguments.data) / "pictures/train"
    paths = sorted(p for p in folder.glob("*.jpg") if p.stem not in LEFT_OUT)
    network = jaxnst.load_network("vgg16-lite", weights=arguments.weights)
    default = jaxnst.get_recipe("default")
    for index in range(arguments.count):
        out = arguments.out / f"{index:04d}.png"
        if out.exists():
            continue
        rng = np.random.default_rng((1, index))
        side = int(rng.choice(SIDES))
        content, style = (square(paths[rng.integers(len(paths))], side, rng) for _ in range(2))
        recipe = replace(
            default,
            init="noise" if rng.random() < 0.2 else "content",
            style=replace(default.style, weight=float(np.exp(rng.uniform(np.log(2), np.log(50))))),
            tv=replace(default.tv, weight=float(rng.choice((0.1, 0.5, 1.5)))),
            scales=replace(default.scales, steps=int(rng.integers(12, 150))),
        )
        result = jaxnst.stylize(
            content, style, network=network, recipe=recipe, size=side, seed=index
        )
        jaxnst.save_image(out, result.image)


if __name__ == "__main__":
    main()

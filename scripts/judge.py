"""Judge pictures by the genuine VGG16, and compare painters on the same pairs.

    python scripts/judge.py --data DIR --painter lite=vgg16-lite --painter genuine=vgg16

A painter is NAME=NETWORK, NETWORK:WEIGHTS for another parameter file, and NETWORK@RECIPE for a
recipe (a name or a TOML file) other than the default. Each paints every pair; the table has, per
picture, numbers that say how good it is, the less the better, and the seconds that it took:

* style: at relu1_1, 2_1, 3_1, 4_1 and 5_1 the matrix of the centered covariance with the mean as
  one more row; squared distance from the painting's matrix over that matrix's square, mean over
  the layers, divided by the same of the photograph: 1 is as far away as the photograph.
* content: mean squared difference from the photograph's relu4_2, divided by that of the painting
  stretched to the photograph's size.
* grain: absolute second differences along both axes, mean, over the larger of photograph's and
  painting's at the picture's size.
* grid: vertical edges, 16 pixels long, on the borders of cells of 8 pixels over those within cells.
  Max pooling draws them; 1 is a picture without. Its width must be a multiple of 16, or the last
  resizing has blurred them.

For the first two, pictures are resized to a longest side of 384 px (Lanczos), and VGG16 repeats
the edges at every convolution. With two painters, ``pair-N.png`` shows each pair's pictures as A
and B in an order drawn from ``--seed``; ``key.json`` says which is which, for afterwards.
"""

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

import numpy as np
from pictures import OTHER_PAIRS, STANDARD_PAIRS, pair_paths
from PIL import Image

import jaxnst
from jaxnst.image import fit, resize
from jaxnst.recipes import base_recipe, read_recipe, recipe_on
from jaxnst.report.contact_sheet import contact_sheet

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
SIDE = 384


class Judge:
    """Numbers of pictures under the genuine VGG16 in the shared folder."""

    def __init__(self, data: Path):
        weights = next((data / "weights/vgg16").glob("*.h5"))
        self.network = jaxnst.load_network("vgg16", weights=weights).configure(padding="edge")

    def __call__(
        self, picture: np.ndarray, content: np.ndarray, style: np.ndarray
    ) -> dict[str, float]:
        """Return style, content and grain, as the module's docstring defines them."""
        photograph = self._features(content)
        painting = self._features(style)
        stretched = self._features(resize(style, content.shape[:2]))
        features = self._features(picture)
        small = resize(style, fit(style.shape[:2], max(picture.shape[:2])))
        inputs = (resize(content, picture.shape[:2]), small)
        return {
            "style": _style(features, painting) / _style(photograph, painting),
            "content": _content(features, photograph) / _content(stretched, photograph),
            "grain": grain(picture) / max(map(grain, inputs)),
            "grid": grid(picture),
        }

    def _features(self, image: np.ndarray) -> dict[str, np.ndarray]:
        height, width = fit(image.shape[:2], SIDE)
        channels = [
            Image.fromarray(channel).resize((width, height), Image.Resampling.LANCZOS)
            for channel in np.moveaxis(np.asarray(image, np.float32), -1, 0)
        ]
        image = np.stack([np.asarray(channel) for channel in channels], -1)
        features = jaxnst.extract_features(
            self.network, np.clip(image, 0, 1), (*STYLE_LAYERS, CONTENT_LAYER)
        )
        return {name: np.asarray(value, np.float64) for name, value in features.items()}


def statistic(features: np.ndarray) -> np.ndarray:
    """Return centered covariance and mean of a feature map, ``(C + 1, C)``."""
    flat = features.reshape(-1, features.shape[-1])
    mean = flat.mean(0)
    return np.concatenate([(flat - mean).T @ (flat - mean) / len(flat), mean[None]])


def grain(image: np.ndarray) -> float:
    """Return the mean absolute second differences along both axes, summed."""
    return sum(float(np.abs(np.diff(image, 2, axis)).mean()) for axis in (0, 1))


def grid(image: np.ndarray, *, cell: int = 8) -> float:
    """Return how much stronger vertical edges are on the borders of cells than within them."""
    gray = image.mean(-1)
    boxes = (gray[:, 1:] + gray[:, :-1]) / 2
    steps = boxes[:, 2:] - boxes[:, :-2]  # across the left side of column 2, 3, ...
    length = 2 * cell
    rows = len(steps) // length * length
    edges = np.abs(steps[:rows].reshape(-1, length, steps.shape[1]).mean(1)).mean(0)
    phase = np.arange(2, 2 + len(edges)) % cell
    return float(edges[phase == 0].mean() / edges[(phase >= 2) & (phase <= cell - 2)].mean())


def _style(features: dict[str, np.ndarray], painting: dict[str, np.ndarray]) -> float:
    pairs = [(statistic(features[name]), statistic(painting[name])) for name in STYLE_LAYERS]
    return float(np.mean([((a - b) ** 2).sum() / (b**2).sum() for a, b in pairs]))


def _content(features: dict[str, np.ndarray], photograph: dict[str, np.ndarray]) -> float:
    return float(((features[CONTENT_LAYER] - photograph[CONTENT_LAYER]) ** 2).mean())


def read_painter(text: str, data: Path) -> tuple[str, jaxnst.LossNetwork, jaxnst.Recipe]:
    """Read NAME=NETWORK[:WEIGHTS][@RECIPE]; ``vgg16`` has the genuine parameters of ``data``."""
    name, _, rest = text.partition("=")
    rest, _, recipe = rest.partition("@")
    network, _, weights = rest.partition(":")
    if network == "vgg16" and not weights:
        weights = str(next((data / "weights/vgg16").glob("*.h5")))
    loaded = jaxnst.load_network(network or name, weights=weights or None)
    if recipe.endswith(".toml"):
        return name, loaded, read_recipe(recipe, base=base_recipe)
    return name, loaded, recipe_on(jaxnst.get_recipe(recipe or "default"), loaded.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAXNST_SHARED"))
    parser.add_argument("--painter", action="append", default=[], metavar="NAME=NETWORK")
    parser.add_argument("--pairs", choices=("standard", "other", "all"), default="all")
    parser.add_argument("--only", type=int, help="no more than this many pairs")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--out", type=Path, default=Path("runs/judge"))
    parser.add_argument("--seed", type=int, default=None, help="of the order of A and B")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("--data DIR (or JAXNST_SHARED) must name the folder of weights and pictures")
    data, out = Path(arguments.data), arguments.out
    out.mkdir(parents=True, exist_ok=True)
    judge = Judge(data)
    painters = [read_painter(text, data) for text in arguments.painter or ["vgg16-lite="]]
    pairs = {"standard": STANDARD_PAIRS, "other": OTHER_PAIRS}.get(
        arguments.pairs, STANDARD_PAIRS + OTHER_PAIRS
    )[: arguments.only]
    order, key, rows = random.Random(arguments.seed), {}, {name: [] for name, *_ in painters}
    columns = "pair", "painter", "style", "content", "grain", "grid", "seconds"
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for number, pair in enumerate(pairs, 1):
        content, style = (jaxnst.load_image(path) for path in pair_paths(data, pair))
        shown = []
        for name, network, recipe in painters:
            begin = time.perf_counter()
            result = jaxnst.stylize(
                content, style, network=network, recipe=recipe, size=arguments.size
            )
            seconds = time.perf_counter() - begin
            picture = np.asarray(result.image)
            row = [*judge(picture, content, style).values(), seconds]
            rows[name].append(row)
            _print_row(" x ".join(pair), name, row)
            jaxnst.save_image(out / f"{number}-{name}.png", picture)
            shown.append((name, picture))
        if len(shown) == 2:
            order.shuffle(shown)
            key[f"pair-{number}"] = {"A": shown[0][0], "B": shown[1][0]}
            labeled = [("A", shown[0][1]), ("B", shown[1][1])]
            inputs = [("content", content), ("style", style)]
            sheet = contact_sheet([labeled, inputs], height=shown[0][1].shape[0])
            jaxnst.save_image(out / f"pair-{number}.png", sheet)
    for name, values in rows.items():
        _print_row("mean", name, np.mean(values, 0))
    (out / "key.json").write_text(json.dumps(key, indent=2), encoding="utf-8")


def _print_row(pair: str, name: str, row) -> None:
    style, content, grain, grid, seconds = row
    numbers = f"{style:.3f} | {content:.3f} | {grain:.2f} | {grid:.2f} | {seconds:.0f}"
    print(f"| {pair} | {name} | {numbers} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

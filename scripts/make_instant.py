"""Make the sheets of docs/instant.md: pictures in one pass, beside optimized ones.

    python scripts/make_instant.py --data DIR [--standard FOLDER]

``instant.jpg``: any style, by ``jaxnst.instant``; ``apply.jpg``: the networks that ship. Contents
and styles are those of the gallery (``make_gallery.py``). With ``--standard``, those of the six
standard pairs of the shared folder DIR (default: JAXNST_SHARED) instead, into another folder, to
look at: their photographs are not for publication.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from make_gallery import GALLERY, OUT, picture
from pictures import STANDARD_PAIRS, pair_paths

import jaxnst
from jaxnst.feedforward import Model, bundled_models
from jaxnst.report.contact_sheet import contact_sheet

PAIRS = ("landscape-starry-night", "astronaut-scream", "coffee-great-wave", "chelsea-wheat-field")
ALPHAS = (0.3, 0.6, 1.0)
SIZE = 384
QUALITY = 80


def timed(paint: Callable[[], object]) -> tuple[float, np.ndarray]:
    """Paint twice, and return the seconds of the second time: the first may compile."""
    paint()
    begin = time.perf_counter()
    found = np.asarray(paint())
    return time.perf_counter() - begin, found


def any_style(content: np.ndarray, style: np.ndarray, size: int) -> list[tuple[str, np.ndarray]]:
    """Paint a pair in one pass, at several strengths, and by optimization."""
    cells = []
    for alpha in ALPHAS:
        seconds, found = timed(lambda a=alpha: jaxnst.instant(content, style, size=size, alpha=a))
        cells.append((f"alpha {alpha:g}\n{seconds:.1f} s", found))
    begin = time.perf_counter()
    found = jaxnst.stylize(content, style, size=size).image
    return [*cells, (f"optimised\n{time.perf_counter() - begin:.0f} s", found)]


def one_style(content: np.ndarray, models: list[Model], size: int) -> list[tuple[str, np.ndarray]]:
    """Paint a photograph by networks that were trained for a style each."""
    scale = size / max(content.shape[:2])
    height, width = (round(side * scale) for side in content.shape[:2])
    content = np.clip(jaxnst.resize(content, (height, width)), 0, 1)
    cells = [(" \n ", content)]
    for model in models:
        seconds, found = timed(lambda m=model: jaxnst.apply_model(m, content))
        cells.append((f"{model.name}\n{seconds:.2f} s", found))
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAXNST_SHARED"))
    parser.add_argument("--standard", type=Path, metavar="FOLDER")
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--only", choices=("instant", "apply"))
    arguments = parser.parse_args()
    data = None if arguments.data is None else Path(arguments.data)
    if arguments.standard is not None:
        if data is None:
            parser.error("--standard takes --data DIR (or JAXNST_SHARED)")
        paths = [pair_paths(data, pair) for pair in STANDARD_PAIRS]
        pairs = [tuple(map(jaxnst.load_image, both)) for both in paths]
    else:
        pairs = [tuple(picture(source, data) for source in GALLERY[name]) for name in PAIRS]
    models = [jaxnst.load_model(name) for name in bundled_models()]
    size, sheets = arguments.size, {}
    if arguments.only != "apply":
        sheets["instant"] = [any_style(*pair, size) for pair in pairs]
    if arguments.only != "instant":
        sheets["apply"] = [one_style(content, models, size) for content, _ in pairs]
    for name, rows in sheets.items():
        sheet = contact_sheet(rows, height=max(cell.shape[0] for of in rows for _, cell in of))
        out = (arguments.standard or OUT) / f"{name}{'.png' if arguments.standard else '.jpg'}"
        jaxnst.save_image(out, sheet, quality=QUALITY)
        print(out)


if __name__ == "__main__":
    main()

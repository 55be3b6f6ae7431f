"""Render the pictures of ``examples/``: a photograph-like landscape and three paintings.

    python scripts/make_examples.py [--out examples] [--only strokes ...]

Nothing is read or downloaded: every picture follows from its seed. It needs NumPy and Pillow, and
takes about three minutes on one core. The renderers are in ``scripts/examples_art``.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from examples_art import hatching, landscape, shapes, strokes
from PIL import Image

PICTURES: dict[str, Callable[[], np.ndarray]] = {
    "content": landscape.render,
    "strokes": strokes.render,
    "hatching": hatching.render,
    "shapes": shapes.render,
}


def save(picture: np.ndarray, path: Path) -> None:
    """Write a picture (H, W, 3) in [0, 1] as a JPEG that keeps colors at full resolution."""
    pixels = np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=92, subsampling=0, optimize=True)


def main() -> None:
    """Render the pictures asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("examples"), help="folder to write into")
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES), help="some")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        start = time.perf_counter()
        path = arguments.out / f"{name}.jpg"
        save(PICTURES[name](), path)
        seconds = time.perf_counter() - start
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
